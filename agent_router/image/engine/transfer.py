"""One attempt: an image from one source to its destination, up to the verdict on it. attempts.py cleans up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agent_router import plugin
from agent_router.image import formats
from agent_router.image.engine.digest import Digests, Wanted
from agent_router.image.engine.pipeline import FirstError, StoppableSink, Work, pump
from agent_router.image.engine.staging import Keeper
from agent_router.image.protocols import (
    Buffer,
    Destination,
    DiskDestination,
    Filter,
    InOrderOnly,
    NeedsScratchSpace,
    ReportsProgress,
    Sink,
    Source,
    WritesDisk,
)


@dataclass(frozen=True)
class WantedImage:
    """What the image must be, whatever its source."""

    format: str = "raw"
    wanted: Wanted = field(default_factory=dict)  # digests of the bytes as published
    size_bytes: int | None = None  # as published
    # Between decoder and destination, e.g. a block map's; called for each attempt.
    filter: Callable[[Sink], Filter] | None = None
    # At the destination, when all is verified and flushed and nothing is released yet; may raise Failed.
    last_look: Callable[[Destination], None] | None = None


class Transferred(NamedTuple):
    """`stats` are details of how it went, beside those of the source."""

    digests: dict[str, str]
    stats: dict[str, Any]


def transfer(source: Source, destination: Destination, image: WantedImage) -> Transferred:
    """All of `source` to `destination`, verified and flushed. No thread runs after it.

    What can be refused is refused before the destination is touched: by the source's size, then by its first bytes.
    """
    stats: dict[str, Any] = {}
    try:
        source.open()
    except OSError as error:
        raise plugin.Failed("unreachable", f"{source.name}: {error.strerror or error}") from None
    digests, sink = Digests(image.wanted), GuardedSink(destination, source.name)
    _check_size(source, source.size, "has", image)
    # A multicast session goes on without a receiver that is silent for some seconds, and so long may a disk make zeros.
    destination.holes_last = source.cannot_wait
    known = source.size or image.size_bytes
    if image.format == "raw" and known is not None:
        sink.expect(known)
    if isinstance(source, WritesDisk) and isinstance(destination, DiskDestination) and _is_plain(image):
        source.write_to(destination, digests)
    else:
        if isinstance(source, NeedsScratchSpace):
            assert source.size is not None
            _lend_scratch_space(source, source.size, destination, sink, image)
        try:
            _stream(source, sink, image, digests.hashers)
        except InOrderOnly:
            stats = _stage(source, destination, sink, image, digests)
    _check_size(source, source.offset, "gave", image)
    digests.judge(source.name)
    sink.flush()
    if image.last_look is not None:
        image.last_look(destination)
    return Transferred(digests.found(), stats)


def _is_plain(image: WantedImage) -> bool:
    return image.format == "raw" and image.filter is None


def _check_size(source: Source, size: int | None, verb: str, image: WantedImage) -> None:
    """`size` is what the source "has", as it announces, or in the end what it "gave"."""
    expected = source.size if image.size_bytes is None else image.size_bytes
    if None not in (expected, size) and size != expected:
        message = f"{source.name} {verb} {size} bytes, expected {expected}"
        raise plugin.Failed("wrong_size", message, details={"expected": expected, "found": size})
    if expected is None and size is None and not image.wanted and image.format == "raw":
        plugin.warn("Size unknown: truncation cannot be detected")


def _lend_scratch_space(
    source: NeedsScratchSpace, size: int, destination: Destination, sink: "GuardedSink", image: WantedImage
) -> None:
    """Such a source fetches the published file, `size` bytes, in any order before it can be read in order."""
    start = source.first(formats.LOOK)
    formats.refuse_other(image.format, start, destination.source)
    unpacked = size if image.format == "raw" else formats.unpacked_size(image.format, start, destination.source)
    if unpacked:
        sink.expect(unpacked)
    source.keep(destination.scratch_space(size, unpacked))


def _stage(
    source: Source, destination: Destination, sink: "GuardedSink", image: WantedImage, digests: Digests
) -> dict[str, Any]:
    """All of `source` is kept and judged, then unpacked."""
    plugin.log(
        f"{source.name} cannot be read out of order, so it is kept beside the image until it is unpacked", "info"
    )
    keeper = Keeper(image.format, destination, sink)
    try:
        keeper.begin(source)
        pump(source, digests.hashers, keeper, FirstError(), _progress(source))
        _check_size(source, source.offset, "gave", image)
        digests.judge(source.name)
        kept = keeper.kept()
        _stream(kept, sink, image, [])
        return kept.stats()
    finally:
        keeper.close()


def _stream(source: Source, sink: "GuardedSink", image: WantedImage, hashers: Sequence[Work]) -> None:
    """Raises InOrderOnly before anything is read in order, if the format needs another order."""
    error, progress = FirstError(), _progress(source)
    filtered = image.filter(sink) if image.filter else None
    decoder = formats.decoder(image.format, StoppableSink(filtered or sink, error))
    decoder.begin(source)
    pump(source, hashers, decoder, error, progress)
    if filtered is not None:
        filtered.finish()


def _progress(source: Source) -> Callable[[int], None]:
    if isinstance(source, ReportsProgress):
        return source.report
    started = time.monotonic()

    def report(done: int) -> None:
        # One byte short of the total until the verdict: attempts.py reports completion once.
        rate = done / max(time.monotonic() - started, 0.001)
        total = source.size
        left = f", {(total - done) / rate:.0f} s left" if total and rate else ""
        plugin.progress(min(done, total - 1) if total else done, total, "bytes", f"{rate / (1 << 20):.1f} MiB/s{left}")

    return report


class GuardedSink:
    """A sink that begins the destination with the first byte and not before.

    Whatever a decoder refuses before it has unpacked a byte leaves the destination untouched.
    """

    def __init__(self, destination: Destination, source_name: str) -> None:
        self._destination, self._source_name = destination, source_name
        destination.source = source_name
        self._expected = 0

    def expect(self, size: int) -> None:
        self._destination.expect(size)
        self._expected = size

    def write(self, offset: int, data: Buffer) -> None:
        if offset == 0:
            self._destination.refuse_start(data)
        self._begin()
        self._destination.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        self._begin()
        self._destination.zero(offset, length)

    def _begin(self) -> None:
        if not self._destination.begun:
            self._destination.begin(self._expected)

    def flush(self) -> None:
        """The image is over: what it announced and did not bring is zeros."""
        destination = self._destination
        if not self._expected and not destination.begun:
            raise plugin.Failed("empty", f"{self._source_name} unpacks to nothing")
        self._begin()  # nothing but zeros, and not one of them was given
        missing = self._expected - destination.written
        if missing > 0:
            destination.zero(destination.written, missing)
        destination.flush()
