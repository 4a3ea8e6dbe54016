"""Push written pages out to the disk while more come, so that few wait in memory.

fdatasync would do, but also makes the disk flush its cache each time.
"""

import ctypes
import os

# At most two windows of this size wait in memory.
WINDOW = 32 << 20
# sync_file_range(2): start writing, wait for it.
_START, _WAIT = 2, 1 | 2 | 4
_libc = ctypes.CDLL(None, use_errno=True)


class Flusher:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._dirty = 0  # bytes written since the last window
        self._range: tuple[int, int] | None = None
        self._before: tuple[int, int] | None = None

    def wrote(self, start: int, end: int) -> None:
        first, last = self._range or (start, end)
        self._range = (min(first, start), max(last, end))
        self._dirty += end - start
        if self._dirty >= WINDOW:
            self._push(*self._range)

    def _push(self, start: int, end: int) -> None:
        """Start writing the newest window out, wait for the one before and let the kernel forget it."""
        _sync_range(self._fd, start, end, _START)
        if self._before is not None:
            first, last = self._before
            _sync_range(self._fd, first, last, _WAIT)
            os.posix_fadvise(self._fd, first, last - first, os.POSIX_FADV_DONTNEED)
        self._before, self._range, self._dirty = (start, end), None, 0


def _sync_range(fd: int, start: int, end: int, flags: int) -> None:
    # Not in the os module.
    offset, length = ctypes.c_int64(start), ctypes.c_int64(end - start)
    if _libc.sync_file_range(fd, offset, length, ctypes.c_uint(flags)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
