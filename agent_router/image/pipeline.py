"""Move bytes from a source through a digest onto a target, each in a thread of its own.

Reading from a socket, hashing and pwrite all let other threads run, so the slowest of the
three sets the pace. A fixed set of buffers goes round; nothing grows with the image.
"""

import hashlib
import mmap
import queue
import signal
import threading
from collections.abc import Callable

from agent_router.image.source import Source

BUFFER = 1 << 20
BUFFERS = 8
Piece = tuple[mmap.mmap, int]


class Stage(threading.Thread):
    """Give each piece to `work`, then on to `after`; None is the end. The first error is kept, not raised."""

    def __init__(
        self, work: Callable[[memoryview], object], after: "queue.Queue[Piece | None] | Stage"
    ) -> None:
        super().__init__(daemon=True)
        self.inbox: queue.Queue[Piece | None] = queue.Queue()
        self.work = work
        self.after = after.inbox if isinstance(after, Stage) else after
        self.error: BaseException | None = None

    def run(self) -> None:
        while (piece := self.inbox.get()) is not None:
            if self.error is None:
                try:
                    with memoryview(piece[0]) as view:
                        self.work(view[: piece[1]])
                except BaseException as error:
                    self.error = error
            self.after.put(piece)  # after an error too: the buffers must go on round
        self.after.put(None)


def pump(source: Source, write: Callable[[memoryview], object], *, first: Callable[[memoryview], object],
         progress: Callable[[int], object], algorithm: str = "sha256") -> str:  # fmt: skip
    """Copy all of `source` through `write`; returns its digest in hexadecimal digits.

    `first` sees the first buffer before anything is written; `progress` gets the bytes read.
    Whatever a stage raised is raised here, after both threads have ended, so that nothing
    writes any more when the caller cleans up. Signals are handled in this thread.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    free: queue.Queue[Piece | None] = queue.Queue()
    writer = Stage(write, free)
    hasher = Stage(digest.update, writer)
    for _ in range(BUFFERS):
        free.put((mmap.mmap(-1, BUFFER), 0))
    started = False
    try:
        while hasher.error is None and writer.error is None:
            piece = free.get()
            assert piece is not None
            with memoryview(piece[0]) as view:
                count = source.readinto(view)
                if not started:
                    first(view[:count])
                    started = _start(writer, hasher)
            if count == 0:
                break
            hasher.inbox.put((piece[0], count))
            progress(source.offset)
    finally:
        if started:
            _end(hasher, writer)
    for stage in (writer, hasher):
        if stage.error is not None:
            raise stage.error
    return digest.hexdigest()


def _start(*stages: Stage) -> bool:
    # Blocked meanwhile, so that a signal finds all threads started or none; and for good in the
    # threads, which inherit it, so that it always reaches the main thread.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for stage in stages:
        stage.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return True


def _end(hasher: Stage, writer: Stage) -> None:
    for attempt in (1, 2):
        try:
            hasher.inbox.put(None)
            hasher.join()
            writer.join()
            return
        except BaseException:
            # A signal came here of all places. Both must have ended before anybody cleans up.
            if attempt == 2:
                raise
