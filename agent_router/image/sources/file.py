"""Read an image from a file or block device of this machine."""

import os
import stat
import urllib.parse
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.image.sources.spec import Spec, shown
from agent_router.storage import blockdev


class FileSource:
    """A Source. Never the disk that the image is written to, nor a file on it."""

    cannot_wait = False

    def __init__(self, spec: Spec) -> None:
        self.name = spec.name
        self.size: int | None = None
        self._expected = spec.size_bytes
        self.offset = 0
        self.resumed = 0
        self._path = path_of(spec.url)
        self._target = spec.device
        self._fd: int | None = None

    def open(self) -> None:
        try:
            # O_NONBLOCK: opening a pipe would wait for a writer.
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            found = os.fstat(self._fd)
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)):
                raise plugin.InvalidRequest("bad_url", f"{self._path} is neither a file nor a block device")
            if self._target is not None:
                refuse_same_disk(self._path, self._target)
            size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise self._failed(error) from None
        if self._expected not in (None, size):
            message = f"{self.name} has {size} bytes, expected {self._expected}"
            raise plugin.Failed("wrong_size", message, details={"expected": self._expected, "found": size})
        self.size = size

    def readinto(self, buffer: memoryview) -> int:
        count = self._read(buffer, self.offset)
        self.offset += count
        return count

    def read_at(self, offset: int, length: int) -> bytes:
        """Fewer bytes only where the file ends."""
        found = bytearray(max(min(length, (self.size or 0) - offset), 0))
        return bytes(found[: self._read(memoryview(found), offset)])

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def stats(self) -> dict[str, Any]:
        return {}

    def _read(self, buffer: memoryview, offset: int) -> int:
        if self._fd is None:
            raise plugin.Failed("stopped", f"{self.name}: given up after {self.offset} bytes")
        end = min(len(buffer), (self.size or 0) - offset)
        filled = 0
        while filled < end:
            try:
                count = os.preadv(self._fd, [buffer[filled:end]], offset + filled)
            except OSError as error:
                raise self._failed(error) from None
            if count == 0:
                raise plugin.Failed("truncated", f"{self.name} became shorter while it was read")
            filled += count
        return filled

    def _failed(self, error: OSError) -> plugin.Failed:
        return plugin.Failed("unreachable", f"{self._path}: {error.strerror}")


def path_of(url: str) -> str:
    """The path of file:///path, or a path itself; raises InvalidRequest("bad_url")."""
    if url.startswith("/"):
        return url
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.unquote(parts.path)
    if parts.hostname not in (None, "localhost") or not path.startswith("/") or "\0" in path:
        raise plugin.InvalidRequest("bad_url", f"{shown(url)} does not name a file of this machine; write file:///PATH")
    return path


def refuse_same_disk(path: str, target: str) -> None:
    """Raise Refused("same_device") if `path` is, or lies on, a disk that `target` is a part of."""
    found = os.stat(path)
    source = disks(found.st_rdev if stat.S_ISBLK(found.st_mode) else found.st_dev)
    shared = source & disks(os.stat(target).st_rdev)
    if shared:
        message = f"{path} lies on {', '.join(sorted(shared))}, which the image would be written to"
        raise plugin.Refused("same_device", message)


def disks(number: int, sys: Path = blockdev.SYS) -> set[str]:
    """The kernel's names of the disks below a device: partitions, LVM, MD and LUKS are looked through."""
    directory = (sys / "dev/block" / f"{os.major(number)}:{os.minor(number)}").resolve()
    if not directory.is_dir():
        return set()  # a file system in memory or from the network
    below = [entry.name for entry in (directory / "slaves").glob("*")]
    numbers = [blockdev.read(blockdev.sysfs(one, sys) / "dev") or "0:0" for one in below]
    found = [disks(os.makedev(*map(int, text.split(":"))), sys) for text in numbers]
    return set().union(*found) or {blockdev.whole_disk(directory.name, sys)}
