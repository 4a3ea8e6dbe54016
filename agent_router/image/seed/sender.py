"""Multicast sessions of one image, one after the other: udp-sender waits for receivers, sends, and is started again."""

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAUSE_S = 1.0
END_S = 5.0
# udp-sender asks a receiver that went silent again and again before it goes on without it; with its default of 200
# times all others wait for minutes.
RETRIES_UNTIL_DROP = 30
# The kernel ends it with who started it, even if that was killed; else it would go on and keep the ports. That is the
# thread, not the process (PR_SET_PDEATHSIG in prctl(2)), and the thread of a Sender lives as long as its session.
TIED = ["setpriv", "--pdeathsig", "TERM"]


@dataclass(frozen=True)
class Group:
    """`rendezvous` is a group address, or "" for a broadcast.

    A session begins when `receivers` are there, or `wait_s` after the first of them.
    """

    rendezvous: str = ""
    portbase: int = 9000
    interface: str = ""
    receivers: int = 1
    wait_s: int = 30
    rate_mbit: int = 0

    @property
    def url(self) -> str:
        return f"udpcast://{self.rendezvous}:{self.portbase}"

    def argv(self, path: Path) -> list[str]:
        found = ["udp-sender", "--file", str(path), "--portbase", str(self.portbase), "--nokbd", "--no-progress"]
        found += ["--min-receivers", str(self.receivers), "--max-wait", str(self.wait_s)]
        found += ["--retries-until-drop", str(RETRIES_UNTIL_DROP)]
        if self.interface:
            found += ["--interface", self.interface]
        if self.rendezvous:
            found += ["--mcast-rdv-address", self.rendezvous]
        if self.rate_mbit:
            found += ["--max-bitrate", f"{self.rate_mbit}m"]
        return found


class Sender(threading.Thread):
    """Sends until stop(); `say` gets a sentence when a session has ended badly."""

    def __init__(self, path: Path, group: Group, say: Callable[[str], object]) -> None:
        super().__init__(daemon=True)
        self.sessions = 0
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
                    self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
                )
            _, told = process.communicate()
            if process.returncode == 0:
                self.sessions += 1
            elif not self._over.is_set():
                lines = told.decode(errors="replace").split("\n")
                last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
                self._say(f"udp-sender ended with {process.returncode}: {last.strip()}")
            self._over.wait(PAUSE_S)

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
