"""Connections of fronts to the runner: frames in, frames out, never blocking."""

import select
import socket
from collections import deque
from collections.abc import Callable

from agent_router.runner.loop import Loop
from agent_router.runner.wire import Frames, Head, pack

READ_BYTES = 65536
MAX_UNSENT = 64 << 20


class Link:
    """One connected front. A front that does not read is cut off at MAX_UNSENT bytes."""

    def __init__(self, loop: Loop, sock: socket.socket, message: Callable[["Link", bytes, bytes], None],
                 closed: Callable[["Link"], None]) -> None:  # fmt: skip
        self._loop = loop
        self._sock = sock
        self._message = message
        self._closed = closed
        self._frames = Frames()
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def send(self, head: Head, body: bytes = b"") -> None:
        data = memoryview(pack(head, body))
        if not self._unsent:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return  # it died; its read side tells us
        if data:
            self._unsent.append(data)
            self._unsent_bytes += len(data)
            if self._unsent_bytes > MAX_UNSENT:
                return self.close()
            self._loop.change(self._sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._closed(self)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT:
            self._read()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent[0])
        except BlockingIOError:
            return
        except OSError:
            return self.close()
        self._unsent_bytes -= sent
        self._unsent[0] = self._unsent[0][sent:]
        if not self._unsent[0]:
            self._unsent.popleft()
        if not self._unsent:
            self._loop.change(self._sock.fileno(), select.EPOLLIN)

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self.close()
        try:
            frames = self._frames.feed(data)
        except ValueError:
            return self.close()
        for head, body in frames:
            self._message(self, head, body)
