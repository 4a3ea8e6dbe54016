"""What the threads of one copy share: their first error, and the way of unpacked bytes to the one that writes."""

import threading
from collections import deque
from collections.abc import Callable

from agent_router.image.protocols import Buffer, Sink

# Unpacked bytes that may wait: enough to write while the next ones are unpacked.
WAITING = 4 << 20
# What an order to write zeros counts for, so that their number is bounded too.
SMALLEST = 4096


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


class Relay(Worker):
    """A Sink before the real one: takes bytes at once and writes them in a thread of its own, a bounded number behind.

    `bytes` are passed on as they are; anything else may be used again by its owner and is copied.
    """

    def __init__(self, sink: Sink, crew: Crew) -> None:
        super().__init__()
        self._sink, self._crew = sink, crew
        self._queue: deque[tuple[int, bytes | None, int]] = deque()
        self._waiting = 0
        self._ended = False
        self._change = threading.Condition()

    def expect(self, size: int) -> None:
        self._sink.expect(size)

    def write(self, offset: int, data: Buffer) -> None:
        self._put(offset, data if isinstance(data, bytes) else bytes(data), len(data))

    def zero(self, offset: int, length: int) -> None:
        self._put(offset, None, length)

    def end(self) -> None:
        """Nothing more comes: the thread ends when all is written."""
        with self._change:
            self._ended = True
            self._change.notify_all()

    def work(self) -> None:
        while (order := self._next()) is not None:
            self._crew.do(self._carry_out, *order)
            with self._change:
                self._waiting -= _cost(order[1])
                self._change.notify_all()

    def _carry_out(self, offset: int, data: bytes | None, length: int) -> None:
        if data is None:
            self._sink.zero(offset, length)
        else:
            self._sink.write(offset, data)

    def _put(self, offset: int, data: bytes | None, length: int) -> None:
        with self._change:
            while self._waiting >= WAITING and not self._crew.over:
                self._change.wait(1)
            if self._crew.over:
                raise Over
            self._queue.append((offset, data, length))
            self._waiting += _cost(data)
            self._change.notify_all()

    def _next(self) -> tuple[int, bytes | None, int] | None:
        with self._change:
            while not self._queue and not self._ended:
                self._change.wait()
            return self._queue.popleft() if self._queue else None


def _cost(data: bytes | None) -> int:
    return max(len(data or b""), SMALLEST)
