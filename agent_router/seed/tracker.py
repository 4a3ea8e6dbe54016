"""A tracker (BEP 3, compact answers of BEP 23 and BEP 7) for the server's own torrents."""

import ipaddress
import random
import threading
import time
from urllib.parse import parse_qsl

from agent_router.seed.bencode import Value, encode

INTERVAL_S = 60
SOONEST_S = 5  # a node that needs peers asks again after this
FORGOTTEN_S = 180
MOST_PEERS = 60  # in one answer
REMEMBERED = 20_000  # peers of one torrent


class Tracker:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By info hash: (address, port) to (when seen last, whether it has everything).
        self._peers: dict[bytes, dict[tuple[str, int], tuple[float, bool]]] = {}

    def add(self, info_hash: bytes) -> None:
        """Only torrents that were added are tracked."""
        self._peers[info_hash] = {}

    def announce(self, query: str, address: str) -> bytes:
        """The answer to one request; `address` is where it came from, and no other is believed."""
        # Hashes are raw bytes in the query, which Latin-1 carries through unchanged.
        given = dict(parse_qsl(query, keep_blank_values=True, encoding="latin-1"))
        peers = self._peers.get(given.get("info_hash", "").encode("latin-1"))
        port = given.get("port", "")
        if peers is None:
            return encode({"failure reason": "this tracker does not know that torrent"})
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            return encode({"failure reason": "the port is missing"})
        with self._lock:
            return encode(self._answer(peers, (plain(address), int(port)), given))

    def _answer(
        self, peers: dict[tuple[str, int], tuple[float, bool]], who: tuple[str, int], given: dict[str, str]
    ) -> dict[str, Value]:
        now = time.monotonic()
        for old in [peer for peer, (seen, _) in peers.items() if now - seen > FORGOTTEN_S]:
            del peers[old]
        if given.get("event") == "stopped":
            peers.pop(who, None)
        elif who in peers or len(peers) < REMEMBERED:
            peers[who] = (now, given.get("left") == "0")
        asked = given.get("numwant", "")
        wanted = int(asked) if asked.isascii() and asked.isdigit() else MOST_PEERS
        others = [peer for peer in peers if peer != who]
        chosen = random.sample(others, min(wanted, MOST_PEERS, len(others)))
        complete = sum(whole for _, whole in peers.values())
        return {
            "interval": INTERVAL_S,
            "min interval": SOONEST_S,
            "complete": complete,
            "incomplete": len(peers) - complete,
            "peers": packed(chosen, 4),
            "peers6": packed(chosen, 6),
        }


def packed(peers: list[tuple[str, int]], version: int) -> bytes:
    found = b""
    for address, port in peers:
        ip = ipaddress.ip_address(address)
        if ip.version == version:
            found += ip.packed + port.to_bytes(2, "big")
    return found


def plain(address: str) -> str:
    """An IPv4 client of a socket for both shows as ::ffff:192.0.2.1; a link-local one with its interface."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(ip, "ipv4_mapped", None) or ip)
