"""The addresses that Ironic knows this machine by: the MACs it looks up, the IP address it calls."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

NET = Path("/sys/class/net")
ETHERNET, INFINIBAND = "1", "32"


def macs(net: Path = NET) -> list[str]:
    """Of every physical interface, sorted by interface name; for InfiniBand the part that Ironic keeps."""
    found = []
    for interface in sorted(net.iterdir()):
        if not (interface / "device").exists():
            continue
        try:
            kind, address = ((interface / name).read_text().strip() for name in ("type", "address"))
        except OSError:
            continue
        if kind == ETHERNET:
            found.append(address)
        elif kind == INFINIBAND:
            octets = address.split(":")
            found.append(":".join([*octets[12:15], *octets[17:20]]))
    return found


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
