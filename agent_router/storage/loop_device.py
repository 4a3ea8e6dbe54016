"""A range of a disk as a block device of its own, for programs that take a path and no offset.

By a loop device that the kernel gives up by itself when its last user is gone, even one that was killed: losetup(8)
cannot ask for that, so the two calls of the kernel are made here.
"""

import contextlib
import errno
import fcntl
import os
import struct

from agent_router.plugin import Incompatible

CONTROL = "/dev/loop-control"
# linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_AUTOCLEAR, _DIRECT_IO = 4, 16
_CONFIG = struct.Struct("=II QQQ QQ IIII 64s 64s 32s QQ 64x")
TRIES = 100  # others take free devices as well


class LoopDevice:
    """`length` bytes of the disk open as `fd`, from `offset` on, both multiples of its sectors; `path` names them."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self.path, self._fd = _attach(fd, offset, length)

    def close(self) -> None:
        """The device is gone when nobody else has it open. Safe to call twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.fsync(fd)
            os.close(fd)


def _attach(fd: int, offset: int, length: int) -> tuple[str, int]:
    try:
        control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Incompatible("tool_missing", f"{CONTROL}: {error.strerror}; load the module loop") from None
    try:
        for _ in range(TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            loop = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Past the page cache of the loop device: what is written is kept once in memory, and not twice.
                config = _CONFIG.pack(
                    fd, 0, 0, 0, 0, offset, length, 0, 0, 0, _AUTOCLEAR | _DIRECT_IO, b"", b"", b"", 0, 0
                )
                fcntl.ioctl(loop, _LOOP_CONFIGURE, config)
                return path, loop
            except OSError as error:
                os.close(loop)
                if error.errno != errno.EBUSY:
                    raise
        raise OSError(errno.EBUSY, "no free loop device")
    except OSError as error:
        raise Incompatible("tool_missing", f"no loop device for a part of the disk: {error.strerror}") from None
    finally:
        os.close(control)
