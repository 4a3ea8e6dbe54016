"""Find blocks of zeros in data, and make zeros on a disk without sending them.

Discard alone is never trusted: a disk may give old data back for discarded blocks.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator

GRAIN = 64 << 10
# linux/fs.h: _IO(0x12, 119) and _IO(0x12, 127); both take {start, length} in bytes.
BLKDISCARD = 0x1277
BLKZEROOUT = 0x127F
# linux/falloc.h. On a disk the kernel promises zeros after it, or EOPNOTSUPP (block/fops.c).
PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
PAGE = 4096
STEP = 256 << 20  # bytes zeroed in one call; a cancel may have to wait for it
MODES = ("auto", "discard", "zeroout", "none")
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL, errno.ENOTTY}
_ZEROS = bytes(1 << 20)
_libc = ctypes.CDLL(None, use_errno=True)


def runs(data: memoryview, offset: int) -> Iterator[tuple[int, int, bool]]:
    """Cut `data` into (start, end, is_zeros), indexes into it; grains lie at multiples of 64 KiB of the disk.

    bytes.startswith is memcmp, 100 times the speed of comparing a memoryview with ==.
    """
    start, at, kind = 0, 0, False
    while at < len(data):
        end = _end(data, at, offset)
        zeros = _ZEROS.startswith(data[at:end])
        if zeros is not kind and at > start:
            yield start, at, kind
            start = at
        kind, at = zeros, end
    if at > start:
        yield start, at, kind


def _end(data: memoryview, at: int, offset: int) -> int:
    """The end of the next part to look at: a large block of zeros as a whole, else one grain."""
    large = at + len(_ZEROS)
    if (offset + at) % len(_ZEROS) == 0 and large <= len(data) and _ZEROS.startswith(data[at:large]):
        return large
    return min(at + GRAIN - (offset + at) % GRAIN, len(data))


class Zeroer:
    """Makes ranges of `fd` zeros by `mode`: auto and discard punch holes where the kernel promises zeros."""

    def __init__(self, fd: int, mode: str) -> None:
        self._fd = fd
        self._ways = [self._zeroout, self._write] if mode == "zeroout" else [self._punch, self._zeroout, self._write]
        if mode == "none":
            self._ways = [self._write]

    def zero(self, start: int, end: int) -> None:
        first, last = -(-start // PAGE) * PAGE, end // PAGE * PAGE
        if first >= last:
            return self._write(start, end - start)
        self._write(start, first - start)
        for at in range(first, last, STEP):
            self._aligned(at, min(STEP, last - at))
        self._write(last, end - last)

    def _aligned(self, start: int, length: int) -> None:
        while True:
            try:
                return self._ways[0](start, length)
            except OSError as error:
                if error.errno not in _UNSUPPORTED or len(self._ways) == 1:
                    raise
                self._ways.pop(0)  # what the disk cannot do now, it cannot do the next time either

    def _punch(self, start: int, length: int) -> None:
        if _libc.fallocate(self._fd, PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(length)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _zeroout(self, start: int, length: int) -> None:
        # The kernel lets the disk do it where it can, and writes zeros itself where not.
        fcntl.ioctl(self._fd, BLKZEROOUT, struct.pack("QQ", start, length))

    def _write(self, start: int, length: int) -> None:
        for at in range(start, start + length, len(_ZEROS)):
            pwrite(self._fd, memoryview(_ZEROS)[: start + length - at], at)


def discard(fd: int, size: int) -> None:
    """Discard the whole disk; a disk that cannot do that is left as it is."""
    try:
        fcntl.ioctl(fd, BLKDISCARD, struct.pack("QQ", 0, size))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def pwrite(fd: int, data: memoryview, offset: int) -> None:
    """All of `data`."""
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count
