"""Room for a published file while it is fetched: for sources that get it in any order and give it to others, and for
formats that must be read in another order than it comes in.

On a disk, after the image and before the last MiB, which stays wiped until the end; in a tree, a file without a name.
It is given back however the command ends; on a disk it reads as zeros then, unless the command was killed.
"""

import os
from collections.abc import Callable
from pathlib import Path

from agent_router import plugin
from agent_router.storage.loop_device import LoopDevice

ALIGNED = 1 << 20
CURE = "add the URL of a web server with ranges as the next source, or publish the image as raw or zst"


class DiskScratchSpace:
    """The bytes [start, end) of the disk open as `fd`; `clear` makes them zeros again."""

    def __init__(self, fd: int, start: int, end: int, clear: Callable[[int, int], object]) -> None:
        self._start, self._clear = start, clear
        self._room = self._used = end - start
        self._loop: LoopDevice | None = LoopDevice(fd, start, end - start)
        self.path = self._loop.path

    def take(self, end: int) -> None:
        if end > self._room:
            raise no_room("the disk", None)
        self._used = end

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.close()
        start = self._start
        end = start + min(-(-self._used // ALIGNED) * ALIGNED, self._room)
        try:
            self._clear(start, end)
        except OSError as error:  # useless bytes, which do not harm the image
            plugin.warn(
                f"bytes {start} to {end} of the disk, used as scratch space, could not be wiped: {error.strerror}"
            )


class FileScratchSpace:
    """A file of the file system at `directory`, which has no name: nothing is left of it, even after a kill."""

    def __init__(self, directory: Path) -> None:
        import tempfile  # only here

        self._file = tempfile.TemporaryFile(dir=directory, prefix=".agent-router-")
        self.path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    def take(self, end: int) -> None:
        """The file system tells when it is full."""

    def close(self) -> None:
        self._file.close()


def fit(size: int | None, tail: int, image: int, device: str) -> tuple[int, int]:
    """Where `size` bytes fit before byte `tail` of a disk: (start, end), behind an image of `image` bytes or more.

    If the size is unknown, all that there is.
    """
    first = max(-(-image // ALIGNED), 1) * ALIGNED
    start = first if size is None else (tail - size) // ALIGNED * ALIGNED
    if start < first or start >= tail:
        raise no_room(device, size)
    return start, tail


def no_room(where: str, size: int | None) -> plugin.Failed:
    how_large = f"the {size} bytes of the published file" if size else "the published file"
    message = f"{where} has no room for the image and, beside it, {how_large}"
    return plugin.Failed("no_room", f"{message}; {CURE}")
