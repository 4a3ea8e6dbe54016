"""Loop devices that cannot outlive the test: the kernel gives one up by itself when nobody has it open any more.

So it is gone also after kill -9 of the process that holds it. losetup(8) can ask for that only when the device is there
already; the two calls of the kernel that are made here leave no moment between.
"""

import errno
import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import wait_for

CONTROL = Path("/dev/loop-control")
# linux/loop.h
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
READ_ONLY, AUTOCLEAR, PARTSCAN = 1, 4, 8
CONFIG = struct.Struct("=II 52x I 240x")  # file, size of a sector, flags
TRIES = 1000


class LoopDevice:
    """`path` is the block device over that file, or over another block device; held open until close()."""

    def __init__(self, backing: Path, sector_size: int = 512, partscan: bool = False, read_only: bool = False) -> None:
        self.backing, self.partscan = backing, partscan
        flags = AUTOCLEAR | PARTSCAN * partscan | READ_ONLY * read_only
        file = os.open(backing, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        try:
            self.path, self._open = attach(CONFIG.pack(file, sector_size, flags))
        finally:
            os.close(file)
        self._forget_partitions()  # of who had it before, and was killed

    @property
    def name(self) -> str:
        return Path(self.path).name

    def attached(self) -> bool:
        """Whether the kernel still has it, and for this file."""
        try:
            return backing_of(self.path) == self.backing.resolve()
        except OSError:
            return False

    def close(self) -> None:
        """Safe to call twice. Fails if somebody else does not let go of it: a mount, or a process."""
        if self._open >= 0:
            self._forget_partitions()
            os.close(self._open)
            self._open = -1
            wait_for(lambda: not self.attached(), f"the end of {self.path}; who has it open?")

    def _forget_partitions(self) -> None:
        """The kernel does that by itself only of a device with `partscan`."""
        if not self.partscan and list(Path("/sys/block", self.name).glob(f"{self.name}p*")):
            subprocess.run(["partx", "--delete", self.path], capture_output=True, check=False)


def backing_of(device: str) -> Path:
    shown = Path("/sys/block", Path(device).name, "loop/backing_file").read_text()
    return Path(shown.rstrip("\n").removesuffix(" (deleted)"))


def skip_without_loop_devices() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes loop devices")
    if not CONTROL.exists():
        pytest.skip("needs loop devices: this kernel or container has none")


def attach(config: bytes) -> tuple[str, int]:
    """(path, open file) of a device that was free."""
    control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # opened to read, it would be read-only for all
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, config)
                return path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.EBUSY:  # another process was faster
                    raise
            finally:
                os.close(device)
        raise OSError(errno.EBUSY, "no free loop device")
    finally:
        os.close(control)
