"""This machine's address in the network of some server."""

import socket
import urllib.parse
from collections.abc import Iterable

DISCOVER_PORT = 9  # nothing is ever sent there


def own_address_towards(urls: Iterable[str]) -> str:
    """The address on the way to the first of the hosts that has one; "" without any."""
    for url in urls:
        host = urllib.parse.urlsplit(url).hostname
        if not host:
            continue
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, DISCOVER_PORT, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(address)
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return ""
