"""The disk an image is written to. It boots nothing until finish(): its two ends come last.

A boot loader, a GPT and its backup lie in the first and the last MiB of a disk, so these are
wiped first, kept in memory while the rest is written, and written only after the digest was
found right. abandon() wipes them again.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os

from agent_router import plugin
from agent_router.storage import blockdev

MIB = 1 << 20
# Dirty pages are pushed out in steps of this size, so that at most two steps wait in memory.
WINDOW = 32 * MIB
BLKRRPART = 0x125F  # linux/fs.h: re-read the partition table
# sync_file_range(2): wait for earlier writing, start it, wait for it.
_START, _WAIT = 2, 1 | 2 | 4
_libc = ctypes.CDLL(None, use_errno=True)


def split(offset: int, length: int, size: int) -> list[tuple[int, int, bool]]:
    """Cut a write into (start, end, held) at the edges of the two held ends of a disk of `size` bytes."""
    head, tail = min(MIB, size), max(size - MIB, min(MIB, size))
    inside = (edge for edge in (head, tail) if offset < edge < offset + length)
    edges = itertools.pairwise(sorted({offset, offset + length, *inside}))
    return [(start, end, start < head or start >= tail) for start, end in edges]


class Target:
    """Write in order with write(), then finish() or abandon(). `written` counts what was given, bytes."""

    def __init__(self, device: str) -> None:
        self.device = device
        name = blockdev.kernel_name(device)
        if blockdev.limits(name).read_only:
            raise plugin.Refused("read_only", f"{device} is write-protected")
        self.fd = blockdev.open_exclusive(device)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.written = 0
        self._held: list[tuple[int, bytes]] = []
        self._window = (0, 0)

    def begin(self) -> None:
        """Take away what the disk would boot now: from here on its content is nobody's."""
        self._wipe_ends()

    def write(self, data: memoryview) -> None:
        """Append; raises Failed("too_large") at the end of the disk."""
        if self.written + len(data) > self.size:
            raise too_large(self.device, self.size)
        first = self.written
        for start, end, held in split(first, len(data), self.size):
            part = data[start - first : end - first]
            if held:
                self._held.append((start, bytes(part)))
            else:
                _pwrite(self.fd, part, start)
        self.written += len(data)
        if self.written - self._window[1] >= WINDOW:
            self._push()

    def finish(self) -> None:
        """Everything else is on the disk before the ends are; then it is an image."""
        os.fsync(self.fd)
        for offset, data in reversed(self._held):  # the first MiB last
            _pwrite(self.fd, memoryview(data), offset)
        os.fsync(self.fd)
        self._reread_partitions()

    def abandon(self) -> None:
        """Leave nothing that could be booted or mounted by mistake."""
        self._held.clear()
        self._wipe_ends()
        self._reread_partitions()

    def close(self) -> None:
        os.close(self.fd)

    def _wipe_ends(self) -> None:
        length = min(MIB, self.size)
        for offset in (0, self.size - length):
            _pwrite(self.fd, memoryview(bytes(length)), offset)
        os.fsync(self.fd)

    def _push(self) -> None:
        """Start writing the newest window out, wait for the one before and let the kernel forget it."""
        old = self._window
        self._window = (old[1], self.written)
        _sync_range(self.fd, *self._window, _START)
        if old[1]:
            _sync_range(self.fd, *old, _WAIT)
            os.posix_fadvise(self.fd, old[0], old[1] - old[0], os.POSIX_FADV_DONTNEED)

    def _reread_partitions(self) -> None:
        # A partition or a loop device has no table to read (EINVAL); the disk is right all the same.
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.fd, BLKRRPART)


def too_large(device: str, size: int, image: int | None = None) -> plugin.Failed:
    what = f"the image has {image} bytes" if image else "the image is larger"
    details = {"disk_bytes": size, "image_bytes": image}
    return plugin.Failed("too_large", f"{what}, {device} has {size}", details=details)


def _pwrite(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def _sync_range(fd: int, start: int, end: int, flags: int) -> None:
    # Not in the os module. fdatasync would do, but also makes the disk flush its cache each time.
    offset, length = ctypes.c_int64(start), ctypes.c_int64(end - start)
    if _libc.sync_file_range(fd, offset, length, ctypes.c_uint(flags)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
