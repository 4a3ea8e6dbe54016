"""Large requests as files: written once, and handed to the plugin as its stdin without another copy.

A file has no name while its owner writes it, so it disappears with that process. `publish` names it for a message to
the runner, which moves it to the command's directory, or removes it if the command is not started.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

LARGE = 1 << 20  # what is larger is a file
STALE_S = 60.0


class Spooled:
    """A nameless file in the state directory."""

    def __init__(self, state: str) -> None:
        self._dir = state + "/spool"
        self.length = 0
        self._fd = -1
        self._path = ""
        try:
            os.makedirs(self._dir, 0o700, exist_ok=True)
            self._fd = os.open(self._dir, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:  # a file system without O_TMPFILE
            self._fd, self._path = tempfile.mkstemp(dir=self._dir)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; OSError if there is no room for all of it."""
        with memoryview(data) as rest:
            while rest:
                written = os.write(self._fd, rest)
                self.length += written
                rest = rest[written:]

    @contextlib.contextmanager
    def mapped(self) -> Iterator[mmap.mmap]:
        with mmap.mmap(self._fd, self.length, prot=mmap.PROT_READ) as content:
            yield content

    def read(self) -> bytes:
        return os.pread(self._fd, self.length, 0)

    def publish(self) -> str:
        """Give the file a name, and to whoever reads the message with it; this object is of no use after that."""
        if not self._path:
            self._path = f"{self._dir}/{os.urandom(8).hex()}"
            # A src_dir_fd makes it linkat(2), which follows the link of /proc.
            os.link(f"/proc/self/fd/{self._fd}", self._path, src_dir_fd=self._fd, follow_symlinks=True)
        os.close(self._fd)
        self._fd = -1
        return self._path

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, it moves to whoever unpickles it."""
        return _moved, (self.publish(),)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self._path:
                os.unlink(self._path)

    def __del__(self) -> None:
        self.close()


def _moved(path: str) -> Spooled:
    file = Spooled.__new__(Spooled)
    file._dir, file._path = os.path.dirname(path), path
    file._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    file.length = os.fstat(file._fd).st_size
    return file


def store(state: str, data: bytes) -> Spooled:
    file = Spooled(state)
    file.write(data)
    return file


def sweep(state: str) -> None:
    """Remove what a killed process published and nobody took; what is younger than STALE_S may be on its way."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(state + "/spool"):
            if entry.stat().st_mtime < time.time() - STALE_S:
                os.unlink(entry.path)
