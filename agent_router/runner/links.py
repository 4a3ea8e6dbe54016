"""Connections of fronts to the runner: frames in, frames out, never blocking."""

import select
import socket
from collections import deque
from collections.abc import Callable

from agent_router.runner.loop import Loop
from agent_router.runner.wire import Body, Frames, Head, pack_head

READ_BYTES = 65536
# A front that reads slower than it asks is not heard further until it has read. What it has not asked for
# (ended commands) waits for it without such a limit, because that is in memory anyway, up to MAX_UNSENT.
FULL, MAX_UNSENT = 8 << 20, 2 << 30


class Link:
    """One connected front."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        message: Callable[["Link", bytes, Body], None],
        closed: Callable[["Link"], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._message = message
        self._closed = closed
        self._frames = Frames()
        self._heard: deque[tuple[bytes, Body]] = deque()
        self._unsent: deque[memoryview] = deque()
        self._length = 0
        self._interest = select.EPOLLIN
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def send(self, head: Head, body: Body = b"") -> None:
        if self._sock.fileno() < 0:
            return
        idle = not self._unsent
        start = pack_head(head, len(body))
        parts = (start + body,) if len(body) < READ_BYTES else (start, body)  # a large one is not copied
        self._unsent.extend(map(memoryview, parts))
        self._length += sum(map(len, parts))
        if self._length > MAX_UNSENT:
            return self.close()
        if idle:
            self._flush()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._closed(self)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
            self._work()
        if events & ~select.EPOLLOUT:
            self._read()

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self._sock.send(self._unsent[0])
                self._length -= sent
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            return  # it died; its read side tells us
        self._listen()

    def _listen(self) -> None:
        """Hear of what can be done now."""
        events = (select.EPOLLOUT if self._unsent else 0) | (select.EPOLLIN if self._length < FULL else 0)
        if events != self._interest and self._sock.fileno() >= 0:
            self._interest = events
            self._loop.change(self._sock.fileno(), events)

    def _read(self) -> None:
        if self._sock.fileno() < 0:
            return
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self.close()
        try:
            self._heard.extend(self._frames.feed(data))
        except ValueError:
            return self.close()
        self._work()

    def _work(self) -> None:
        while self._heard and self._length < FULL and self._sock.fileno() >= 0:
            head, body = self._heard.popleft()
            self._message(self, head, body)
