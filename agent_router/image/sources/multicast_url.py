"""udpcast://[RENDEZVOUS][:PORTBASE][?interface=NAME&wait_s=N&ttl=N&rcvbuf=BYTES], and the default interface.

A Metalink cannot know what its readers call their interfaces: they take the one that faces its server.
"""

import ipaddress
import re
import socket
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from agent_router import plugin
from agent_router.image.sources.spec import shown
from agent_router.image.torrent.session import facing

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


def parse(url: str, patience_s: float, server: str = "") -> Address:
    """`server` is the URL of what named `url`. Raises InvalidRequest("bad_url") or ("no_interface") with a sentence."""
    parts = urllib.parse.urlsplit(url)
    try:
        options = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = parts.port
    except ValueError as error:
        raise _bad(url, str(error)) from None
    if parts.username is not None or parts.path not in ("", "/") or parts.fragment:
        raise _bad(url, "there is no user and no path in it")
    unknown = set(options) - {*NUMBERS, "interface"}
    if unknown:
        raise _bad(url, f"it has no option {', '.join(sorted(unknown))}, only interface, wait_s, ttl and rcvbuf")
    portbase = PORTBASE if port is None else port
    if portbase % 2 or not 1024 <= portbase <= 65534:
        raise _bad(url, "the port is the first of two, even, and from 1024 to 65534")
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
    own = facing([server]) if server else ""
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
        raise _bad(url, f"{host} is no IPv4 address") from None


def _number(url: str, key: str, value: str) -> int:
    low, high = NUMBERS[key]
    if not re.fullmatch("[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise _bad(url, f"{key} is a number from {low} to {high}")
    return int(value)


def _bad(url: str, why: str) -> plugin.InvalidRequest:
    return plugin.InvalidRequest("bad_url", f"{shown(url)}: {why}; see docs/multicast.md")
