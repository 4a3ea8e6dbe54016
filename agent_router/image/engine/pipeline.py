"""Move bytes from a source through digests and a decoder, each in a thread of its own.

Reading from a socket, hashing, unpacking and pwrite all let other threads run, so the slowest
of them sets the pace. A fixed set of buffers goes round; nothing grows with the image. The main
thread reads, since only there a signal can interrupt.

The decoder writes in its own thread: the page cache takes what is written while more is unpacked, and another
thread for writing took a fifth more CPU time for handing pieces over. The first error of any thread ends all of them.
"""

import mmap
import queue
import signal
import threading
from collections.abc import Callable, Sequence

from agent_router import plugin
from agent_router.image.protocols import Buffer, Decoder, Sink, Source

# Few and large: with 8 of 1 MiB a raw image took a tenth more CPU time for handing them over.
BUFFER = 2 << 20
BUFFERS = 4
Piece = tuple[mmap.mmap, int]
Work = Callable[[memoryview], object]


class CopyEnded(Exception):
    """Another thread failed; what this one does is of no use any more."""


class FirstError:
    """The first error of any thread ends the work of all."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return self.error is not None

    def do(self, work: Callable[..., object], *args: object) -> None:
        """Work unless another thread failed; an exception is kept for check()."""
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

    Thread.join() cannot: interrupted once, it mistakes a running thread for an ended one (Python 3.11).
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


class StoppableSink:
    """A sink that stops when another thread has failed: a few bytes may unpack to terabytes."""

    def __init__(self, sink: Sink, error: FirstError) -> None:
        self._sink, self._error = sink, error

    def expect(self, size: int) -> None:
        self._sink.expect(size)

    def write(self, offset: int, data: Buffer) -> None:
        self._check()
        self._sink.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        self._check()
        self._sink.zero(offset, length)

    def _check(self) -> None:
        if self._error.over:
            raise CopyEnded


class Stage(Worker):
    """Give each piece to `work`, then on to `after`; None is the end, at which `last` is called if all went well."""

    def __init__(
        self,
        error: FirstError,
        work: Work,
        after: "queue.SimpleQueue[Piece | None]",
        last: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.inbox: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        self._error, self._do, self._after, self._last = error, work, after, last

    def work(self) -> None:
        while (piece := self.inbox.get()) is not None:
            self._error.do(self._one, piece)
            self._after.put(piece)  # after an error too: the buffers must go on round
        if self._last is not None:
            self._error.do(self._last)
        self._after.put(None)

    def _one(self, piece: Piece) -> None:
        with memoryview(piece[0]) as view, view[: piece[1]] as part:
            self._do(part)


def pump(
    source: Source, hashers: Sequence[Work], decoder: Decoder, error: FirstError, progress: Callable[[int], object]
) -> None:
    """Copy all of `source` through `hashers` to `decoder`.

    `progress` gets the bytes read. The first error of any thread is raised here after all threads
    have ended, so that nothing writes any more when the caller cleans up. Signals are handled in
    this thread.
    """
    free: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
    stages = [Stage(error, decoder.feed, free, decoder.finish)]
    for work in reversed(hashers):
        stages.insert(0, Stage(error, work, stages[0].inbox))
    for _ in range(BUFFERS):
        free.put((mmap.mmap(-1, BUFFER), 0))
    _start(stages)
    try:
        while not error.over:
            piece = free.get()
            assert piece is not None
            count = _fill(source, piece[0])
            if count == 0:
                break
            stages[0].inbox.put((piece[0], count))
            progress(source.offset)
        _join(stages)
    except BaseException as trouble:
        error.fail(trouble)
        _join(stages)
    error.check()


def _fill(source: Source, buffer: mmap.mmap) -> int:
    try:
        with memoryview(buffer) as view:
            return source.readinto(view)
    except OSError as error:
        raise plugin.Failed("connection_lost", f"{source.name}: {error.strerror or error}") from None


def _start(threads: Sequence[Worker]) -> None:
    # Blocked meanwhile, so that a signal finds all threads started or none; and for good in the
    # threads, which inherit it, so that it always reaches the main thread.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for thread in threads:
        thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _join(stages: Sequence[Stage]) -> None:
    """Let all threads end. May be called again if a signal came."""
    stages[0].inbox.put(None)
    for stage in stages:
        stage.wait()
