"""A rack on one machine: network namespaces connected by a switch with rate-limited ports."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

PREFIX = "arfleet"
SWITCH, ORIGIN = f"{PREFIX}-sw", f"{PREFIX}-origin"
ORIGIN_ADDRESS = "10.99.0.1"
# The queue holds about 40 ms of a port's rate; a burst must hold at least one frame.
SHAPER = ("burst", "128kb", "latency", "50ms")


def node(number: int) -> str:
    return f"{PREFIX}-{number}"


def address(number: int) -> str:
    return f"10.99.0.{10 + number}"


def inside(namespace: str, *argv: object) -> list[str]:
    return ["ip", "netns", "exec", namespace, *map(str, argv)]


def _run(*argv: object) -> str:
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def rack(nodes: int, rate_mbit: int) -> Iterator[None]:
    """Namespaces for an origin and the given number of nodes; removed afterwards, as are those left by a killed run."""
    _remove()
    try:
        _run("ip", "netns", "add", SWITCH)
        _run("ip", "-n", SWITCH, "link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0")
        _run("ip", "-n", SWITCH, "link", "set", "bridge0", "up")
        _plug(ORIGIN, ORIGIN_ADDRESS, rate_mbit)
        for number in range(1, nodes + 1):
            _plug(node(number), address(number), rate_mbit)
        yield
    finally:
        _remove()


def _plug(namespace: str, own: str, rate_mbit: int) -> None:
    port = "p-" + namespace.removeprefix(f"{PREFIX}-")
    _run("ip", "netns", "add", namespace)
    _run("ip", "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port, "netns", SWITCH)
    for device in ("lo", "eth0"):
        _run("ip", "-n", namespace, "link", "set", device, "up")
    _run("ip", "-n", namespace, "addr", "add", f"{own}/24", "brd", "+", "dev", "eth0")
    _run("ip", "-n", namespace, "route", "add", "default", "dev", "eth0")
    _run("ip", "-n", SWITCH, "link", "set", port, "master", "bridge0", "up")
    # Both directions: from the machine and from the switch.
    for where, device in ((namespace, "eth0"), (SWITCH, port)):
        _run(*inside(where, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{rate_mbit}mbit", *SHAPER))


def lose(namespace: str, percent: float) -> None:
    """Drop this share of incoming packets. With iptables, because not every kernel has netem."""
    rule = ["-m", "statistic", "--mode", "random", "--probability", percent / 100, "-j", "DROP"]
    _run(*inside(namespace, "iptables", "-A", "INPUT", "-i", "eth0", *rule))


def lose_nothing(namespace: str) -> None:
    _run(*inside(namespace, "iptables", "-F", "INPUT"))


def sent(namespace: str) -> int:
    """Bytes sent by this machine so far."""
    return int(_run(*inside(namespace, "cat", "/sys/class/net/eth0/statistics/tx_bytes")))


def _remove() -> None:
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        if name.startswith(f"{PREFIX}-"):
            _run("ip", "netns", "del", name)
