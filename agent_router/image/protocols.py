"""The three parts an image passes through, as the others see them: a source, a decoder, a sink.

source → (digest of the bytes as published) → decoder → sink. write.py puts them together.
"""

from typing import Any, Protocol

from agent_router.image.stage import Stage

Buffer = bytes | bytearray | memoryview


class Source(Protocol):
    """Where the published bytes come from, in order.

    `name` is for people: never with a query, a user or a password in it. `size` is the length in
    bytes, None if nobody tells; `offset` the bytes read in order so far; `resumed` how many times
    a broken connection was taken up again. Every method may raise plugin.Failed with a sentence.
    """

    name: str
    size: int | None
    offset: int
    resumed: int

    def open(self) -> None:
        """Connect; afterwards `size` is known, if ever."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the image goes; 0 at its end."""

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from anywhere, before readinto() begins; Incompatible("no_range") where that cannot be had."""

    def close(self) -> None:
        """Give up everything held. Safe to call twice, and at any time."""

    def stats(self) -> dict[str, Any]:
        """What is worth telling in the result besides, e.g. bytes by peers; {} if nothing."""


class Sink(Protocol):
    """Where the unpacked image goes. Offsets need not come in order; what is never given reads as zeros in the end."""

    def expect(self, size: int) -> None:
        """The unpacked image has `size` bytes: refused here if that is too large, before anything is touched."""

    def write(self, offset: int, data: Buffer) -> None:
        """`data` may be used until the call returns. Blocks of zeros in it are found by the sink."""

    def zero(self, offset: int, length: int) -> None:
        """These bytes are zeros."""


class Decoder(Protocol):
    """Makes the image from the published bytes. One is made for each attempt: Decoder(sink)."""

    def begin(self, source: Source) -> None:
        """Look before anything is touched; may use source.read_at(). Calls sink.expect() if the size can be known."""

    def feed(self, data: memoryview) -> None:
        """The next published bytes, in order; `data` may be used until the call returns."""

    def finish(self) -> None:
        """The published bytes are over: Failed("truncated") if the image is not complete."""


class Place(Sink, Protocol):
    """Where an image goes to as a whole: a disk (target.py), a directory tree (tree.py).

    begin() comes before the first write() and after everything that can be refused; flush() when
    all was given; then finish() or abandon(). After abandon() it may be begun again; `abandoned`
    says of the place what it is then.
    """

    source: str  # name of who gives the image, for sentences
    abandoned: str
    size: int
    written: int  # bytes of the unpacked image that were given
    zeroed: int  # of these, bytes that were zeroed and not written
    holes_last: bool  # make large holes in flush(), and do not keep the source waiting meanwhile

    def begin(self) -> None: ...
    def stage(self, size: int, image: int) -> Stage: ...
    def flush(self) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...
    def close(self) -> None: ...
