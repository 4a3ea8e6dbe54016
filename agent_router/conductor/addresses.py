"""The addresses that Ironic knows this machine by: the MACs it looks up, the IP address it calls."""

import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from agent_router.ramdisk.network import cards
from agent_router.ramdisk.network.cards import NET

PATIENCE_S = 20


def macs(net: Path = NET) -> list[str]:
    """Of every network card, sorted by interface name; for InfiniBand the part that Ironic keeps."""
    permanent, found = cards.permanent_addresses(_links()), []
    for name in cards.cards(net):
        address = cards.own_address(net / name, permanent)
        if cards.kind(net / name) == cards.INFINIBAND:
            octets = address.split(":")
            address = ":".join([*octets[12:15], *octets[17:20]])
        found += [address] if address else []
    return list(dict.fromkeys(found))


def _links() -> str:
    argv = ["ip", "-json", "link"]
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def source_address(url: str) -> str:
    """The source address of packets to the host of `url`; OSError if there is none that Ironic could call."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    last: OSError = OSError(f"{url} has no address")
    for family, kind, _, _, address in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe:
            try:
                probe.connect(address)  # sends nothing, only consults the routing table
            except OSError as error:
                last = error
                continue
            found = str(probe.getsockname()[0])
        if not found.lower().startswith("fe80"):
            return found
    raise last
