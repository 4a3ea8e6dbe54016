"""Push written pages out to the disk while more come, so that few wait in memory.

fdatasync would do, but also makes the disk flush its cache each time.
"""

import ctypes
import os
from collections import deque

# At most this much waits in memory, and the writer waits for the oldest WINDOW of it. A slow disk stops the reader for
# that time: the other receivers of a multicast session wait meanwhile, and in the end continue without this one.
PENDING = 64 << 20
WINDOW = 4 << 20
# sync_file_range(2): start writing, wait for it.
_START, _WAIT = 2, 1 | 2 | 4
_libc = ctypes.CDLL(None, use_errno=True)
Extents = list[tuple[int, int]]


class Flusher:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._dirty = 0  # bytes in _newest
        self._newest: Extents = []
        self._started: deque[Extents] = deque()

    def wrote(self, start: int, end: int) -> None:
        last = self._newest[-1] if self._newest else (start, start)
        # A range may include a hole, but not a jump, since what was just written may be in between.
        if 0 <= start - last[1] <= WINDOW:
            self._newest[-1:] = [(last[0], end)]
        else:
            self._newest.append((start, end))
        self._dirty += end - start
        if self._dirty >= WINDOW:
            self._push()

    def _push(self) -> None:
        """Start writing the newest window out, wait for the oldest and let the kernel forget it."""
        for start, end in self._newest:
            _sync_range(self._fd, start, end, _START)
        self._started.append(self._newest)
        self._newest, self._dirty = [], 0
        if len(self._started) * WINDOW >= PENDING:
            for start, end in self._started.popleft():
                _sync_range(self._fd, start, end, _WAIT)
                os.posix_fadvise(self._fd, start, end - start, os.POSIX_FADV_DONTNEED)


def _sync_range(fd: int, start: int, end: int, flags: int) -> None:
    # Not in the os module.
    offset, length = ctypes.c_int64(start), ctypes.c_int64(end - start)
    if _libc.sync_file_range(fd, offset, length, ctypes.c_uint(flags)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
