"""One image for many machines at once: udpcast, by its own udp-receiver.

    udpcast://[RENDEZVOUS][:PORTBASE][?interface=NAME&wait_s=N&ttl=N&rcvbuf=BYTES]

docs/multicast.md says what each part means, and how the sender is run. Whether the transmission has a return channel
or forward error correction instead is the sender's choice, and a receiver learns it when it begins.
"""

import fcntl
import ipaddress
import math
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from agent_router import plugin
from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources.own_address import own_address_towards
from agent_router.image.sources.spec import Spec, shown

PIPE_BYTES = 1 << 20
END_S = 2.0  # for udp-receiver to end by itself
LEAVE_S = 1.0  # for it to sign off from the sender
# Lines of udp-receiver that do not explain its end.
CHATTER = (
    "Udp-receiver ", "UDP receiver for", "received message", "Connected as", "Listening to", "Transfer complete",
    "Signal ",
)  # fmt: skip

PORTBASE = 9000
# As much as udpcast sends between two confirmations, and more than the kernel's default.
RCVBUF = 4 << 20
NUMBERS = {"wait_s": (1, 86400), "ttl": (1, 255), "rcvbuf": (1 << 16, 1 << 28)}
ROUTES = Path("/proc/net/route")


@dataclass(frozen=True)
class Address:
    """Where to wait for a transmission, and how long. `interface` is a name, or the IPv4 address that it has."""

    interface: str
    rendezvous: str | None
    portbase: int
    wait_s: int
    ttl: int | None
    rcvbuf: int


def parse_url(url: str, patience_s: float, server: str = "") -> Address:
    """`server` is the URL of what named `url`. Raises InvalidRequest("bad_url") or ("no_interface") with a sentence."""
    parts = urllib.parse.urlsplit(url)
    try:
        options = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = parts.port
    except ValueError as error:
        raise _bad_url(url, str(error)) from None
    if parts.username is not None or parts.path not in ("", "/") or parts.fragment:
        raise _bad_url(url, "a user or a path is not allowed in it")
    unknown = set(options) - {*NUMBERS, "interface"}
    if unknown:
        raise _bad_url(url, f"it has no option {', '.join(sorted(unknown))}, only interface, wait_s, ttl and rcvbuf")
    portbase = PORTBASE if port is None else port
    if portbase % 2 or not 1024 <= portbase <= 65534:
        raise _bad_url(url, "the port is the first of two, even, and from 1024 to 65534")
    numbers = {key: _number(url, key, value) for key, value in options.items() if key in NUMBERS}
    return Address(
        interface=_interface(url, options.get("interface"), server),
        rendezvous=_group(url, parts.hostname),
        portbase=portbase,
        wait_s=numbers.get("wait_s", max(int(patience_s), 1)),
        ttl=numbers.get("ttl"),
        rcvbuf=numbers.get("rcvbuf", RCVBUF),
    )


def default_interface(routes: str, interfaces: list[str]) -> str | None:
    """The one of the default route with the smallest metric, else the only one there is beside lo."""
    lines = [line.split() for line in routes.splitlines()[1:]]
    # proc(5): interface, destination, gateway, flags, …, metric as the seventh, mask as the eighth.
    found = [(int(fields[6]), fields[0]) for fields in lines if fields[1] == fields[7] == "00000000"]
    if found:
        return min(found)[1]
    others = [name for name in interfaces if name != "lo"]
    return others[0] if len(others) == 1 else None


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _interface(url: str, named: str | None, server: str) -> str:
    if named is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,14}", named) or named not in interfaces():
            raise plugin.InvalidRequest("no_interface", f"{shown(url)}: this machine has no interface {named}")
        return named
    own = own_address_towards([server]) if server else ""
    if "." in own and ":" not in own:  # udpcast knows no IPv6
        return own
    found = default_interface(ROUTES.read_text(), interfaces())
    if found is None:
        message = f"{shown(url)}: there is no default route; name the interface, e.g. udpcast://?interface=eth0"
        raise plugin.InvalidRequest("no_interface", message)
    return found


def _group(url: str, host: str | None) -> str | None:
    if host is None:
        return None
    try:
        # Also a broadcast or unicast address: where the first packet goes to is all that it says.
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise _bad_url(url, f"{host} is not an IPv4 address") from None


def _number(url: str, key: str, value: str) -> int:
    low, high = NUMBERS[key]
    if not re.fullmatch("[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise _bad_url(url, f"{key} is a number from {low} to {high}")
    return int(value)


def _bad_url(url: str, why: str) -> plugin.InvalidRequest:
    return plugin.InvalidRequest("bad_url", f"{shown(url)}: {why}; see docs/multicast.md")


class MulticastSource:
    """A Source. open() waits until the transmission begins: until then the disk is untouched."""

    cannot_wait = True

    def __init__(self, spec: Spec) -> None:
        self.name = spec.name
        self.size: int | None = None
        self.offset = 0
        self.resumed = 0
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._waited_s = 0.0

    def open(self) -> None:
        if not self._spec.digest_known:
            message = f"{self.name}: anyone on the network can send by multicast, so a digest is required; add one"
            raise plugin.InvalidRequest("no_digest", message)
        address = parse_url(self._spec.url, self._spec.patience_s, self._spec.extras.get("server", ""))
        begun = time.monotonic()
        self._start(receiver_argv(address, self._spec.patience_s))
        # Two seconds more than udp-receiver itself, which then says more about the reason; it counts anew when greeted.
        if not self._readable(address.wait_s + END_S) or self._ended_without_a_byte():
            raise self._no_sender(address)
        self._waited_s = time.monotonic() - begun

    def readinto(self, buffer: memoryview) -> int:
        filled = 0
        process = self._process
        if process is None or process.stdout is None:
            raise plugin.Failed("stopped", f"{self.name}: given up after {self.offset} bytes")
        while filled < len(buffer):
            count = os.readv(process.stdout.fileno(), [buffer[filled:]])
            if count == 0:
                self._check_end(process)
                break
            filled += count
            self.offset += count
        return filled

    def read_at(self, offset: int, length: int) -> bytes:
        raise InOrderOnly

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _leave(process)
            if process.stdout is not None:
                process.stdout.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def stats(self) -> dict[str, Any]:
        return {"waited_s": round(self._waited_s, 3)} if self._waited_s else {}

    def _start(self, argv: list[str]) -> None:
        self._log = tempfile.TemporaryFile()
        # It stays in the process group of the plugin: what kills the plugin kills it too. But a cancel, which asks the
        # whole group to end by SIGTERM, must not reach it: it would end without a word, and the sender and all others
        # would wait for it. A blocked signal stays blocked in the child.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, bufsize=0
            )
        except FileNotFoundError:
            message = "udp-receiver is not installed; build the ramdisk with the element agent-router-multicast"
            raise plugin.Incompatible("tool_missing", message) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert self._process.stdout is not None
        fcntl.fcntl(self._process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def _readable(self, timeout_s: float) -> bool:
        assert self._process is not None
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], timeout_s)[0])

    def _ended_without_a_byte(self) -> bool:
        """An image has bytes: one that ends before them had no sender, whatever its status."""
        assert self._process is not None
        assert self._process.stdout is not None
        # FIONREAD tells how much lies in the pipe without taking it.
        waiting = fcntl.ioctl(self._process.stdout.fileno(), FIONREAD, b"\0" * 4)
        return int.from_bytes(waiting, "little") == 0

    def _no_sender(self, address: Address) -> plugin.Failed:
        said = self._said()
        if any("No suitable network interface" in line for line in said):
            message = f"{self.name}: there is no interface {address.interface} with an IPv4 address"
            return plugin.InvalidRequest("no_interface", message)
        reasons = [line for line in said if not line.startswith((*CHATTER, "Receiver error"))]
        why = f" ({reasons[-1]})" if reasons else ""
        message = (
            f"{self.name}: no transmission began on {address.interface} within {address.wait_s} s{why}; "
            "start udp-sender, or wait longer (wait_s): latecomers are not admitted"
        )
        return plugin.Failed("no_source", message)

    def _check_end(self, process: subprocess.Popen[bytes]) -> None:
        """The stream is over; raise Failed("connection_lost") unless the sender said that it is complete."""
        try:
            status = process.wait(END_S)
        except subprocess.TimeoutExpired:
            status = -1
        if status == 0:
            return
        said = [line for line in self._said() if not line.startswith(CHATTER)]
        why = said[-1] if said else f"udp-receiver ended with {status}"
        if why == "Receiver timeout":
            why = f"the sender was silent for {timeout_s(self._spec.patience_s)} s"
        message = f"{self.name}: the transmission broke off after {self.offset} bytes: {why}"
        raise plugin.Failed("connection_lost", message)

    def _said(self) -> list[str]:
        """The lines of udp-receiver, which write over each other with carriage returns."""
        assert self._log is not None
        self._log.seek(0)
        text = self._log.read(1 << 16).decode(errors="replace").replace("\r", "\n")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        plugin.log("\n".join(lines), "debug")
        return lines


FIONREAD = 0x541B  # asm-generic/ioctls.h


def _leave(process: subprocess.Popen[bytes]) -> None:
    """End udp-receiver. At Ctrl-C it signs off from the sender, for which all others would wait otherwise."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def timeout_s(patience_s: float) -> int:
    """udp-receiver takes whole seconds, and 0 forever."""
    return max(math.ceil(patience_s), 1)


def receiver_argv(address: Address, patience_s: float) -> list[str]:
    argv = [
        "udp-receiver", "--nokbd", "--no-progress", "--interface", address.interface,
        "--portbase", str(address.portbase), "--rcvbuf", str(address.rcvbuf),
        "--start-timeout", str(address.wait_s), "--receive-timeout", str(timeout_s(patience_s)),
    ]  # fmt: skip
    if address.rendezvous:
        argv += ["--mcast-rdv-address", address.rendezvous]
    if address.ttl:
        argv += ["--ttl", str(address.ttl)]
    return argv
