"""What the threads of one copy share: their first error, which ends the work of all."""

import threading
from collections.abc import Callable

from agent_router.image.protocols import Buffer, Sink


class Over(Exception):
    """The copy is over; nobody needs what this thread does any more."""


class Crew:
    """The first error of any thread ends the work of all."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return self.error is not None

    def do(self, work: Callable[..., object], *args: object) -> None:
        """Work unless it is over; what it raises is kept for check()."""
        if not self.over:
            try:
                work(*args)
            except BaseException as error:
                self.fail(error)

    def fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error

    def check(self) -> None:
        if self.error is not None:
            raise self.error


class Worker(threading.Thread):
    """A thread that can be waited for even where a signal interrupts the waiting.

    Thread.join() cannot: interrupted once, it takes a running thread for one that has ended (Python 3.11).
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()

    def run(self) -> None:
        try:
            self.work()
        finally:
            self._over.set()

    def work(self) -> None:
        raise NotImplementedError

    def wait(self) -> None:
        self._over.wait()


class Checked:
    """A Sink before the real one: a few bytes may unpack to terabytes, and that is stopped in the middle."""

    def __init__(self, sink: Sink, crew: Crew) -> None:
        self._sink, self._crew = sink, crew

    def expect(self, size: int) -> None:
        self._sink.expect(size)

    def write(self, offset: int, data: Buffer) -> None:
        self._check()
        self._sink.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        self._check()
        self._sink.zero(offset, length)

    def _check(self) -> None:
        if self._crew.over:
            raise Over
