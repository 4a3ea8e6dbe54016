"""A format that must be read out of order, from a source that gives its bytes in order: kept first, unpacked then.

Web servers without ranges, and multicast. The published file goes to the scratch space that torrents use too, hashed on
the way, so a wrong one is found before it is unpacked.
"""

import os
from typing import Any

from agent_router import plugin
from agent_router.image import formats
from agent_router.image.protocols import Destination, ScratchSpace, Sink, Source


class Keeper:
    """A Decoder that unpacks nothing; the first piece shows whether there is anything to keep."""

    def __init__(self, form: str, destination: Destination, sink: Sink) -> None:
        self._form, self._destination, self._sink = form, destination, sink
        self.scratch: ScratchSpace | None = None
        self._fd = -1
        self._offset = 0

    def begin(self, source: Source) -> None:
        self._name, self._size = source.name, source.size

    def feed(self, data: memoryview) -> None:
        if self.scratch is None:
            self._lend(bytes(data[: formats.LOOK]))
        assert self.scratch is not None
        self.scratch.take(self._offset + len(data))
        while data:
            count = os.pwrite(self._fd, data, self._offset)
            data, self._offset = data[count:], self._offset + count

    def finish(self) -> None:
        if self.scratch is None:
            formats.refuse_other(self._form, b"", self._name)  # empty

    def _lend(self, start: bytes) -> None:
        formats.refuse_other(self._form, start, self._name)
        unpacked = formats.unpacked_size(self._form, start, self._name)
        self._sink.expect(unpacked)
        self.scratch = self._destination.scratch_space(self._size, unpacked)
        self._fd = os.open(self.scratch.path, os.O_RDWR | os.O_CLOEXEC)

    def kept(self) -> "Kept":
        return Kept(self._name, self._fd, self._offset)

    def close(self) -> None:
        """Give the room back; nothing reads or writes there any more."""
        if self._fd >= 0:
            os.close(self._fd)
        if self.scratch is not None:
            self.scratch.close()


class Kept:
    """A Source: what a Keeper kept."""

    cannot_wait = False
    resumed = 0

    def __init__(self, name: str, fd: int, size: int) -> None:
        self.name, self._size, self._fd = name, size, fd
        self.size: int | None = size
        self.offset = 0

    def open(self) -> None:
        pass

    def readinto(self, buffer: memoryview) -> int:
        buffer = buffer[: self._size - self.offset]
        filled = 0
        while filled < len(buffer):
            filled += os.preadv(self._fd, [buffer[filled:]], self.offset + filled)
        self.offset += filled
        return filled

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, min(length, max(self._size - offset, 0)), offset)

    def report(self, done: int) -> None:
        message = f"all fetched, {100 * done // self._size} % of it unpacked"
        plugin.progress(self._size - 1, self._size, "bytes", message)

    def close(self) -> None:
        pass

    def stats(self) -> dict[str, Any]:
        return {"bytes_kept": self._size}
