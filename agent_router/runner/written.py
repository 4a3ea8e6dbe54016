"""What a plugin writes to its log or its standard output: a file of the plugin, and from the moment that the plugin
is about to empty it, a second one of our own, with all that was written.
"""

import contextlib
import os

from agent_router.ipc.state import open_file
from agent_router.runner import files

COPY_BYTES, COMPARED_BYTES = 1 << 20, 64 << 10
RAW = ".raw"  # when there are two, the plugin's own is `log.raw`, and ours is `log`


class Written:
    """`fd` is what the plugin has. `lost` tells that the plugin emptied it without our knowing."""

    def __init__(self, base: str, name: str, fd: int, limit: int) -> None:
        self.fd, self.limit = fd, limit
        self._path = f"{base}/{name}"
        self._kept = -1
        self._taken = 0  # bytes at the beginning of the plugin's file that are in ours
        self._seen = 0
        self.lost = False
        if os.path.exists(self._path + RAW):
            self._resume()

    def _resume(self) -> None:
        """A runner before this one kept something; how much, is not written down: the most that fits is right."""
        self._kept, self.fd = self.fd, files.reopen(self._path + RAW)
        ours = os.pread(self._kept, COMPARED_BYTES, max(0, os.fstat(self._kept).st_size - COMPARED_BYTES))
        fresh = os.pread(self.fd, COMPARED_BYTES, 0)
        self._taken = next(size for size in range(len(fresh), -1, -1) if ours.endswith(fresh[:size]))

    def is_over(self) -> bool:
        """Take in what is new; whether it has become too much."""
        size = os.fstat(self.fd).st_size
        if size < self._seen:
            self.lost, self._taken = True, 0
        self._seen = size
        if self._kept < 0:
            return size > self.limit
        self._take()
        return os.fstat(self._kept).st_size > self.limit

    def _take(self) -> None:
        while os.fstat(self._kept).st_size <= self.limit and (data := os.pread(self.fd, COPY_BYTES, self._taken)):
            try:
                self._taken += os.write(self._kept, data)
            except OSError:
                self.lost = True  # there is no room
                break

    def before_emptied(self) -> None:
        """The plugin opens it anew, and may empty it by that: from now on what was written is kept in our own file."""
        if self._kept < 0:
            os.rename(self._path, self._path + RAW)
            self._kept = open_file(self._path, files.OPEN)
        self._take()
        self._empty()

    def discard(self) -> None:
        self._empty()
        if self._kept >= 0:
            os.ftruncate(self._kept, 0)

    def _empty(self) -> None:
        os.ftruncate(self.fd, 0)
        self._taken = self._seen = 0

    def close(self) -> bytes:
        """The plugin is gone: one file remains, not longer than its limit; returns its beginning."""
        if self._kept >= 0:
            self._take()
            with contextlib.suppress(OSError):
                os.unlink(self._path + RAW)
            os.close(self.fd)
            self.fd, self._kept = self._kept, -1
        if os.fstat(self.fd).st_size > self.limit:
            os.ftruncate(self.fd, self.limit)  # what came in until the signal was there
        try:
            return files.beginning(self.fd, self.limit)
        finally:
            os.close(self.fd)
