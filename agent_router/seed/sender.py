"""Multicast sessions of one image, one after the other: udp-sender gathers receivers, sends, and is started again.

This module starts the transmission. udp-sender can do that by itself (--min-receivers), but does so before it sends
another hello to the last receiver. If its answer to that receiver was lost, the receiver would ask again only after a
hello: it is counted and does not know it, and all others wait until it is given up. So this module counts the
receivers, lets some hellos pass after the last one, and presses the key that udp-sender waits for.
"""

import contextlib
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Between a session and the next; longer after one that failed, as each would without an interface.
PAUSE_S, FAILED_S = 0.1, 1.0
END_S = 5.0
# The kernel ends it with its parent, even a killed one; else it would continue and keep the ports. The parent is the
# thread, not the process (PR_SET_PDEATHSIG in prctl(2)), and the thread of a Sender lives as long as its session.
TIED = ["setpriv", "--pdeathsig", "TERM"]
# A hello is one small packet; three or four of them fit between the last receiver and the start.
HELLO_MS = 250
SETTLE_S = 1.0
# udp-sender asks a silent receiver again ten times in quick succession and then once a second. Measured with version
# 20120424: with --retries-until-drop 10, 12, 15, 17, 20, 30 it went on after 1.7, 3.7, 6.6, 8.4, 12, 22 s.
QUICK_RETRIES = 9
JOINED = re.compile(r"New connection from (\S+) +\(#(\d+)\)")
LEFT = re.compile(r"Disconnecting #(\d+)")
DROPPED = re.compile(r"Dropping client #(\d+)")


@dataclass(frozen=True)
class Group:
    """`rendezvous` is a group address, or "" for a broadcast.

    A session begins when `receivers` are there, or `wait_s` after the first of them; 0 waits for all. A receiver that
    is silent for `drop_s` is left behind; until then all others wait for it.
    """

    rendezvous: str = ""
    portbase: int = 9000
    interface: str = ""
    receivers: int = 1
    wait_s: int = 30
    rate_mbit: int = 0
    # More than the 7 s for which disks in arrays try to read or write a bad sector (SCT error recovery control).
    drop_s: int = 8

    @property
    def url(self) -> str:
        return f"udpcast://{self.rendezvous}:{self.portbase}"

    def argv(self, path: Path) -> list[str]:
        found = ["udp-sender", "--file", str(path), "--portbase", str(self.portbase), "--no-progress"]
        found += ["--rexmit-hello-interval", str(HELLO_MS)]
        found += ["--retries-until-drop", str(QUICK_RETRIES + self.drop_s)]
        if self.interface:
            found += ["--interface", self.interface]
        if self.rendezvous:
            found += ["--mcast-rdv-address", self.rendezvous]
        if self.rate_mbit:
            found += ["--max-bitrate", f"{self.rate_mbit}m"]
        return found


class Gathering:
    """Which receivers are there, from udp-sender's output, and when to begin; in seconds of any clock."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._addresses: dict[str, str] = {}  # by udp-sender's number
        self._first = self._last = 0.0

    def hear(self, line: str, now: float) -> str:
        """Process one line of udp-sender; returns a sentence if it is worth reporting."""
        if found := JOINED.search(line):
            self._first = self._first if self._addresses else now
            self._last = now
            self._addresses[found[2]] = found[1]
        elif found := DROPPED.search(line):
            address = self._addresses.get(found[1], f"receiver {found[1]}")
            return f"{address} was silent for {self._group.drop_s} s and is left behind by the multicast session"
        elif found := LEFT.search(line):
            self._addresses.pop(found[1], None)
        return ""

    def begin_at(self) -> float | None:
        """None as long as only another receiver can start the session."""
        settled = self._last + SETTLE_S
        if len(self._addresses) >= self._group.receivers:
            return settled
        if not self._addresses or not self._group.wait_s:
            return None
        return max(settled, self._first + self._group.wait_s)


class Sender(threading.Thread):
    """Sends until stop(); `say` gets a sentence when something went wrong."""

    def __init__(self, path: Path, group: Group, say: Callable[[str], object]) -> None:
        super().__init__(daemon=True)
        self.sessions = 0
        self._group = group
        self._argv = [*TIED, *group.argv(path)]
        self._say = say
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        while not self._over.is_set():
            with self._lock:
                if self._over.is_set():
                    return
                self._process = process = subprocess.Popen(
                    self._argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0
                )
            with process:
                last = self._conduct(process)
            if process.returncode == 0:
                self.sessions += 1
            elif not self._over.is_set():
                self._say(f"udp-sender ended with {process.returncode}: {last or 'it said nothing'}")
            self._over.wait(FAILED_S if process.returncode else PAUSE_S)

    def _conduct(self, process: subprocess.Popen[bytes]) -> str:
        """Start it in time, report problems, until it ends; returns its last line."""
        assert process.stdin is not None
        assert process.stderr is not None
        gathering, begun, rest, last = Gathering(self._group), False, b"", ""
        poll = select.poll()  # the descriptor may be beyond what select() knows
        poll.register(process.stderr, select.POLLIN)
        while True:
            begin_at = None if begun else gathering.begin_at()
            if not poll.poll(None if begin_at is None else max(begin_at - time.monotonic(), 0) * 1000):
                begun = True
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(b"\n")
                continue
            more = os.read(process.stderr.fileno(), 1 << 16)
            *lines, rest = (rest + (more or b"\n")).split(b"\n")
            for line in [text for raw in lines if (text := raw.decode(errors="replace").strip())]:
                last = line
                if sentence := gathering.hear(line, time.monotonic()):
                    self._say(sentence)
            if not more:
                return last

    def stop(self) -> None:
        """End the session that runs; its receivers go on to their next source."""
        self._over.set()
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self.join(END_S)
