"""One try to get an image from one source to its place, up to the verdict on it. Cleaning up is fallback.py's."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent_router import plugin
from agent_router.image import formats
from agent_router.image.crew import Checked, Crew
from agent_router.image.digest import Digests, Wanted
from agent_router.image.gate import Gate
from agent_router.image.pipeline import pump
from agent_router.image.protocols import Place, Sink, Source


@dataclass(frozen=True)
class Image:
    """What is asked of the image, wherever it comes from."""

    format: str = "raw"
    wanted: Wanted = field(default_factory=dict)  # digests of the bytes as published
    size_bytes: int | None = None  # as published
    # Between decoder and place, e.g. a block map's; called for each attempt.
    before: Callable[[Sink], Sink] | None = None


def attempt(source: Source, place: Place, gate: Gate, image: Image) -> dict[str, str]:
    """All of `source` to `place` and flushed; returns its digests. Raises what went wrong, threads ended."""
    digests = Digests(image.wanted)
    _refuse_unfit(source, image)
    try:
        source.open()
    except OSError as error:
        raise plugin.Failed("unreachable", f"{source.name}: {error.strerror or error}") from None
    _check_announced(source, image)
    # A transmission goes on without who does not listen for some seconds, and so long may a disk make zeros.
    place.holes_last = getattr(source, "in_order_only", False)
    known = source.size or image.size_bytes
    if image.format == "raw" and known is not None:
        gate.expect(known)
    if _writes_by_itself(source, place, image):
        source.direct(place, digests)  # type: ignore[attr-defined]
    else:
        if hasattr(source, "keep"):
            _keep(source, place, gate, image)
        _stream(source, gate, image, digests)
    _check_size(source, image)
    digests.judge(source.name)
    gate.flush()
    return digests.found()


def _refuse_unfit(source: Source, image: Image) -> None:
    """Before it is opened: who joins a transmission and leaves it again keeps all others waiting."""
    if image.format in formats.OUT_OF_ORDER and getattr(source, "in_order_only", False):
        message = f"{source.name} cannot be read out of order, and a {image.format} image has to be; use http"
        raise plugin.Incompatible("no_range", message)


def _writes_by_itself(source: Source, place: Place, image: Image) -> bool:
    """Such a source has `direct(target, digests)`: it calls target.begin(), gives both ends to target.hold() and all
    else to the disk, tells it with target.mark(), and reads all back through `digests.update`."""
    can = getattr(source, "writes_disks", False) and hasattr(place, "device")
    return can and image.format == "raw" and image.before is None


def _keep(source: Any, place: Place, gate: Gate, image: Image) -> None:
    """Such a source has `first(length)` and `keep(stage)`: it gets the published file in any order, and needs room."""
    start = source.first(formats.LOOK)
    formats.refuse_other(image.format, start, source.name)
    unpacked = formats.unpacked_size(image.format, start, source.name)
    if image.format == "raw":
        unpacked = source.size
    if unpacked:
        gate.expect(unpacked)
    source.keep(place.stage(source.size, unpacked))


def _stream(source: Source, gate: Gate, image: Image, digests: Digests) -> None:
    crew = Crew()
    sink = image.before(gate) if image.before else gate
    decoder = formats.decoder(image.format, Checked(sink, crew))
    decoder.begin(source)
    pump(source, digests.hashers, decoder, crew, _progress(source))
    if sink is not gate:
        sink.finish()  # type: ignore[attr-defined]


def _check_announced(source: Source, image: Image) -> None:
    expected, size = image.size_bytes, source.size
    if expected is not None and size is not None and size != expected:
        message = f"{source.name} has {size} bytes, expected were {expected}"
        raise plugin.Failed("wrong_size", message, details={"expected": expected, "found": size})
    if expected is None and size is None and not image.wanted and image.format == "raw":
        plugin.warn("Nobody tells the size: an image that was cut off would not be noticed")


def _check_size(source: Source, image: Image) -> None:
    expected = source.size if image.size_bytes is None else image.size_bytes
    if expected is not None and source.offset != expected:
        message = f"{source.name} gave {source.offset} bytes, expected were {expected}"
        raise plugin.Failed("wrong_size", message, details={"expected": expected, "found": source.offset})


def _progress(source: Source) -> Callable[[int], None]:
    if hasattr(source, "report"):
        return source.report  # type: ignore[no-any-return]
    started = time.monotonic()

    def report(done: int) -> None:
        # One byte short of the total until the verdict: "all done" is said once, by who knows it.
        rate = done / max(time.monotonic() - started, 0.001)
        total = source.size
        left = f", {(total - done) / rate:.0f} s left" if total and rate else ""
        plugin.progress(min(done, total - 1) if total else done, total, "bytes", f"{rate / (1 << 20):.1f} MiB/s{left}")

    return report
