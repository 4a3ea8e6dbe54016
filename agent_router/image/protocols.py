"""The parts that an image passes through, as the others see them: source, decoder, sink, destination.

source → (digest of the bytes as published) → decoder → sink → destination. engine/transfer.py puts them together.
What only some sources or destinations can do is a protocol of its own; the engine asks by isinstance().
"""

from typing import Any, Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview


class InOrderOnly(Exception):
    """The source gives its bytes in order only, so read_at() is impossible."""


class Source(Protocol):
    """Where the published bytes come from, in order.

    `name` is for people: never with a query, a user or a password in it. `size` is the length in bytes, None if
    unknown; `offset` the bytes read in order so far; `resumed` how many times a broken connection was resumed.
    Every method may raise plugin.Failed with a sentence.
    """

    name: str
    size: int | None
    offset: int
    resumed: int

    @property
    def cannot_wait(self) -> bool:
        """Others get the same bytes at the same time."""

    def open(self) -> None:
        """Connect; afterwards `size` is known, if ever."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the image goes; 0 at its end."""

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from anywhere, before readinto() begins; raises InOrderOnly where that is impossible."""

    def close(self) -> None:
        """Release everything. Safe to call twice, and at any time."""

    def stats(self) -> dict[str, Any]:
        """Details for the result, e.g. bytes by peers; {} if there are none."""


class Sink(Protocol):
    """Where the unpacked image goes. Offsets may come in any order; what is never written reads as zeros in the end."""

    def expect(self, size: int) -> None:
        """The unpacked image has `size` bytes: refused here if that is too large, before anything is touched."""

    def write(self, offset: int, data: Buffer) -> None:
        """`data` may be used until the call returns. The sink finds blocks of zeros in it."""

    def zero(self, offset: int, length: int) -> None:
        """These bytes are zeros."""


class Filter(Sink, Protocol):
    """A sink before another one, e.g. that of a block map."""

    def finish(self) -> None:
        """The image is over; raises if it is incomplete."""


class Decoder(Protocol):
    """Makes the image from the published bytes. One is made for each attempt: Decoder(sink)."""

    def begin(self, source: Source) -> None:
        """Look before anything is touched; may use source.read_at(). Calls sink.expect() if the size is known."""

    def feed(self, data: memoryview) -> None:
        """The next published bytes, in order; `data` may be used until the call returns."""

    def finish(self) -> None:
        """The published bytes are over: Failed("truncated") if the image is not complete."""


class ScratchSpace(Protocol):
    """Room for a published file while it is fetched. `path` can be read and written, also by other programs."""

    path: str

    def take(self, end: int) -> None:
        """Only the first `end` bytes are used, so far; Failed("no_room") if there are not so many."""

    def close(self) -> None:
        """Give the room back. Safe to call twice."""


class Destination(Sink, Protocol):
    """What an image is written to: a disk (destinations/disk.py) or a directory tree (destinations/tree.py).

    begin() comes before the first write() and after everything that can be refused; `image` is how many bytes the
    unpacked image has, as far as known. flush() comes after the last write(); then finish() or abandon(). After
    abandon() it may be begun again; `abandoned` says in what state it is then.
    """

    source: str  # name of the source, for messages
    abandoned: str
    size: int
    begun: bool  # something was changed, and not yet taken back by abandon()
    written: int  # bytes of the unpacked image so far
    zeroed: int  # of these, bytes that were zeroed and not written
    holes_last: bool  # make large holes in flush(), for a source that cannot wait

    def refuse_start(self, start: Buffer) -> None:
        """Raise for an image whose first bytes show that it is not for this destination."""

    def begin(self, image: int = 0) -> None: ...
    def scratch_space(self, size: int | None, image: int) -> ScratchSpace: ...
    def flush(self) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class DiskDestination(Protocol):
    """A destination that is a block device; what a source needs that writes to it by itself."""

    device: str

    def begin(self, image: int = 0) -> None: ...
    def zero(self, offset: int, length: int) -> None: ...

    def settle(self) -> None:
        """Zeros that waited for more of them are on the disk."""

    def hold(self, offset: int, data: Buffer) -> None:
        """Bytes of which those in the first or last MiB stay in memory until finish()."""

    def mark(self, offset: int, length: int) -> None:
        """These bytes were written to the device by the source itself."""


class Hash(Protocol):
    def update(self, data: memoryview) -> object: ...


@runtime_checkable
class WritesDisk(Protocol):
    """A source that writes a raw image to the disk by itself, in any order."""

    def write_to(self, disk: DiskDestination, digest: Hash) -> None:
        """All of the image but the two ends of the disk, which go to disk.hold(); reads everything through `digest`."""


@runtime_checkable
class NeedsScratchSpace(Protocol):
    """A source that gets the published file in any order, and needs room for it until it is unpacked."""

    def first(self, length: int) -> bytes:
        """The first bytes, fetched before anything is touched."""

    def keep(self, scratch: ScratchSpace) -> None:
        """From here on the file is fetched into `scratch`, which is closed with the source."""


@runtime_checkable
class ReportsProgress(Protocol):
    """A source that knows better than its offset how far it is."""

    def report(self, done: int) -> None: ...


@runtime_checkable
class Lingers(Protocol):
    """A source that may serve others after the image was written."""

    def linger(self) -> None: ...
