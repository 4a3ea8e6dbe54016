"""A blocking connection to the runner, for threads and for the command line."""

import json
import socket
import time
from typing import Any, overload

from agent_router.ipc.frames import Frames, pack
from agent_router.ipc.messages import (
    Cancel,
    CancelAnswer,
    CommandAnswer,
    Get,
    ListCommands,
    Listing,
    Ping,
    Pong,
    Question,
    Record,
    Request,
    Run,
)

RETRY_S = 0.02


class RunnerGone(Exception):
    """The runner did not answer in time; it may be restarting."""


class Client:
    """One request at a time. A lost connection is made anew and the request repeated: ids make that safe."""

    def __init__(self, path: str, patience_s: float = 30) -> None:
        self._path = path
        self._patience_s = patience_s
        self._sock: socket.socket | None = None
        self._frames = Frames()
        self._received: list[tuple[bytes, bytes]] = []

    @overload
    def call(self, message: Run | Record | Get, body: bytes = b"") -> tuple[CommandAnswer, bytes]: ...
    @overload
    def call(self, message: Cancel, body: bytes = b"") -> tuple[CancelAnswer, bytes]: ...
    @overload
    def call(self, message: ListCommands, body: bytes = b"") -> tuple[Listing, bytes]: ...
    @overload
    def call(self, message: Ping, body: bytes = b"") -> tuple[Pong, bytes]: ...

    def call(self, message: Question, body: bytes = b"") -> tuple[Any, bytes]:
        """Send one message and return its answer; waits as long as the answer takes."""
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                self.send(message, body)
                return self.receive()
            except (OSError, ValueError) as error:
                self.close()
                if time.monotonic() > give_up:
                    raise RunnerGone(f"the runner does not answer on {self._path}: {error}") from None
                time.sleep(RETRY_S)
                message["again"] = True
            except BaseException:  # Ctrl-C: the answer to come must not be taken for that to the next message
                self.close()
                raise

    def send(self, message: Request, body: bytes = b"") -> None:
        """Send without waiting for an answer."""
        self._connected().sendall(pack(message, body))

    def receive(self) -> tuple[Any, bytes]:
        """The next frame; OSError when the runner goes away."""
        sock = self._connected()
        while not self._received:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("the runner closed the connection")
            self._received += self._frames.feed(data)
        head, body = self._received.pop(0)
        return json.loads(head), body

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        self._frames = Frames()
        self._received = []

    def _connected(self) -> socket.socket:
        if self._sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(self._path)
            except OSError:
                sock.close()
                raise
            self._sock = sock
        return self._sock
