"""Connect to the first address of a host that answers; dead ones cost a moment, not a timeout each (RFC 8305)."""

import errno
import itertools
import os
import selectors
import socket
import time
from typing import Any

# Between two tries while none has answered (RFC 8305, 5: 250 ms is recommended).
STAGGER_S = 0.25


def dial(where: tuple[str, int], timeout_s: float) -> socket.socket:
    """A connected socket with that timeout. Raises OSError, of the last address that failed."""
    race = _Race(_in_turn(socket.getaddrinfo(*where, type=socket.SOCK_STREAM)))
    try:
        sock = race.run(time.monotonic() + timeout_s)
    finally:
        race.close()
    sock.settimeout(timeout_s)
    return sock


def _in_turn(found: list[Any]) -> list[Any]:
    """IPv6 and IPv4 alternately, in the order of preference."""
    first = found[0][0]
    same, others = [one for one in found if one[0] == first], [one for one in found if one[0] != first]
    return [one for pair in itertools.zip_longest(same, others) for one in pair if one is not None]


class _Race:
    def __init__(self, addresses: list[Any]) -> None:
        self._waiting = addresses
        self._selector = selectors.DefaultSelector()
        self._error: OSError = TimeoutError("no address answered in time")
        self._next_at = 0.0

    def run(self, give_up: float) -> socket.socket:
        while (now := time.monotonic()) < give_up:
            running = self._selector.get_map()
            if self._waiting and (now >= self._next_at or not running):
                self._start(self._waiting.pop(0))
                continue
            if not running:
                raise self._error
            until = min(give_up, self._next_at) if self._waiting else give_up
            for key, _ in self._selector.select(max(until - now, 0)):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                self._selector.unregister(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return sock
                self._failed(sock, code)
        raise TimeoutError("timed out")

    def _start(self, address: Any) -> None:
        family, kind, protocol, _, place = address
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        code = sock.connect_ex(place)
        if code in (0, errno.EINPROGRESS):
            self._selector.register(sock, selectors.EVENT_WRITE)
            self._next_at = time.monotonic() + STAGGER_S
        else:
            self._failed(sock, code)

    def _failed(self, sock: socket.socket, code: int) -> None:
        sock.close()
        self._error = OSError(code, os.strerror(code))
        self._next_at = 0.0

    def close(self) -> None:
        """Hang up on those that did not win."""
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
