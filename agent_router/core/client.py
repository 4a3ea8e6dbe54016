"""A blocking connection to the runner, for threads of the front and for the command line."""

import json
import select
import socket
import time
from collections.abc import Callable

from agent_router.runner.wire import Frames, Head, pack, pack_head

RETRY_S = 0.02
LOOK_MS = 500
LARGE = 1 << 20

Left = Callable[[], bool]


class AskerLeft(Exception):
    """The one for whom the answer was meant went away."""


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

    def call(self, head: Head, body: bytes = b"", left: Left | None = None) -> tuple[Head, bytes]:
        """Send one message and return its answer; waits as long as the answer takes.

        `left` is asked now and then whether nobody wants the answer any more; then AskerLeft is raised.
        """
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                self.send(head, body)
                if left is not None:
                    self._wait(left)
                return self.receive()
            except (OSError, ValueError) as error:
                self.close()
                if time.monotonic() > give_up:
                    raise RunnerGone(f"the runner does not answer on {self._path}: {error}") from None
                time.sleep(RETRY_S)
                head = {**head, "again": True}
            except BaseException:  # Ctrl-C: the answer to come must not be taken for that to the next message
                self.close()
                raise

    def send(self, head: Head, body: bytes = b"") -> None:
        """Send without waiting for an answer."""
        if len(body) < LARGE:
            self._connected().sendall(pack(head, body))
        else:  # not copied into one message
            self._connected().sendall(pack_head(head, len(body)))
            self._connected().sendall(body)

    def receive(self) -> tuple[Head, bytes]:
        """The next frame; OSError when the runner goes away."""
        sock = self._connected()
        while not self._received:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("the runner closed the connection")
            self._received += [(head, bytes(body)) for head, body in self._frames.feed(data)]
        head, body = self._received.pop(0)
        return json.loads(head), body

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        self._frames = Frames()
        self._received = []

    def _wait(self, left: Left) -> None:
        poll = select.poll()
        poll.register(self._connected(), select.POLLIN)
        while not poll.poll(LOOK_MS):
            if left():
                self.close()  # the answer to come belongs to nobody
                raise AskerLeft

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
