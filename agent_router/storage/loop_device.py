"""A range of a disk as a block device of its own, for programs that take a path but no offset.

The kernel detaches the loop device when its last user is gone, even if that was killed. losetup(8) cannot request
this for a device that it sets up, hence the two ioctls here.
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
TRIES = 100  # others may take the free device first


class LoopDevice:
    """`path` is `length` bytes of the disk open as `fd` from `offset` on, both multiples of the sector size."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self.path, self._fd = _attach(fd, offset, length)

    def close(self) -> None:
        """The device goes away once no one else has it open. May be called twice."""
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
                # Bypass the page cache of the loop device, so that written data is in memory once, not twice.
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
