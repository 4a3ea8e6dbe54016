"""One end of a connection between the runner and those who talk to it: frames in, frames out, never blocking."""

import select
import socket
import struct
from collections import deque
from collections.abc import Callable

from agent_router.ipc.frames import Frames, pack
from agent_router.ipc.loop import Loop
from agent_router.ipc.messages import Message

READ_BYTES = 65536
PEER = struct.Struct("3i")  # pid, uid, gid
# A peer that reads slower than it asks is not heard further until it has read. What it has not asked for
# (ended commands) waits for it without such a limit, because that is in memory anyway, up to MAX_UNSENT.
FULL, MAX_UNSENT = 8 << 20, 2 << 30


class Connection:
    """A connected socket in a loop."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        message: Callable[["Connection", bytes, bytes], None],
        closed: Callable[["Connection"], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._message = message
        self._closed = closed
        self._frames = Frames()
        self._heard: deque[tuple[bytes, bytes]] = deque()
        self._unsent: deque[memoryview] = deque()
        self._length = 0
        self._interest = select.EPOLLIN
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def peer(self) -> int:
        """The pid of the process at the other end (unix(7), SO_PEERCRED)."""
        return int(PEER.unpack(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))[0])

    def send(self, message: Message, body: bytes = b"") -> None:
        if self._sock.fileno() < 0:
            return
        idle = not self._unsent
        frame = pack(message, body)
        self._unsent.append(memoryview(frame))
        self._length += len(frame)
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
            text, body = self._heard.popleft()
            self._message(self, text, body)
