"""Try source after source until one gave the right image; in between and at the end the place is clean.

A source that cannot be had, breaks off or gives the wrong bytes leads to the next one. What is
wrong with the disk, or with the image wherever it comes from, does not.
"""

import contextlib
import dataclasses
import signal
from types import FrameType
from typing import Any, NoReturn

from agent_router import plugin
from agent_router.image import sources
from agent_router.image.attempt import Image, attempt
from agent_router.image.digest import Wanted
from agent_router.image.gate import Gate
from agent_router.image.protocols import Place, Source
from agent_router.image.sources import Spec

# Another source has the same image for the same disk.
FINAL = {
    "too_large", "write_failed", "device_busy", "read_only", "stopped", "wrong_format", "sector_size", "unsafe_image",
}  # fmt: skip
Failure = dict[str, Any]  # {"source", "code", "message"}


class Stopped(BaseException):
    """SIGTERM: raised in the main thread wherever it is, mostly in a read from the network."""


@dataclasses.dataclass
class Outcome:
    """Which source gave the image, and what became of those before it."""

    source: str
    transport: str
    bytes_read: int
    resumed: int
    wanted: Wanted
    digests: dict[str, str]
    failed: list[Failure]
    stats: dict[str, Any]


class Tries:
    """All tries to get one image to one place."""

    def __init__(self, place: Place, name: str, image: Image) -> None:
        self.place, self.name, self.image = place, name, image
        self.failed: list[Failure] = []
        self._tried: set[str] = set()
        self._source: Source | None = None
        self._gate: Gate | None = None
        self._partial: dict[str, Any] = {"bytes_written": 0, "disk": "untouched"}
        self._state = "was not touched"

    def run(self, specs: list[Spec]) -> Outcome:
        """The image on its place, verified; raises one error that names every source and the state of the place."""
        error = plugin.Failed("no_source", "no source was named")
        try:
            signal.signal(signal.SIGTERM, _stop)
            for spec in sources.expand(specs, self.failed):
                if spec.name in self._tried:
                    continue  # a mirror that was given up as part of another source
                try:
                    return self._one(spec)
                except BaseException as trouble:
                    error = self._clean_up(trouble)
                    if error.code in FINAL:
                        break
        except BaseException as trouble:
            error = self._clean_up(trouble)
        raise self._told(error) from None

    def _one(self, spec: Spec) -> Outcome:
        self._source = source = sources.make(spec)
        self._gate = gate = Gate(self.place, source.name)
        image = self.image
        if not image.wanted and spec.digest is not None:
            image = dataclasses.replace(image, wanted=dict([spec.digest]))
        digests = attempt(source, self.place, gate, image)
        # From here on it is an image: a cancel that comes now comes too late to be obeyed.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.place.finish()
        self._gate = None  # whatever comes now, the image stays
        verdict = "written and verified" if image.wanted else "written"
        plugin.progress(source.offset, source.offset, "bytes", verdict)
        stats = source.stats()
        outcome = Outcome(
            source.name,
            spec.transport,
            source.offset,
            source.resumed,
            image.wanted,
            digests,
            self.failed + stats.pop("failed", []),
            stats,
        )
        _linger(source)
        source.close()
        return outcome

    def _clean_up(self, error: BaseException) -> plugin.Failed:
        """End the source, wipe the place if it was begun, and remember what went wrong."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        source, self._source = self._source, None
        gate, self._gate = self._gate, None
        try:
            if source is not None:
                source.close()
            if gate is not None and gate.begun:
                self._abandon()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        failure = self._as_failure(error, source)
        if source is not None:
            mirrors = source.stats().get("failed", [])
            self._tried |= {mirror["source"] for mirror in mirrors}
            if mirrors and not source.resumed:
                self._tried.add(source.name)  # all that was read came from this one
            self.failed += mirrors
            self.failed.append({"source": source.name, "code": failure.code, "message": failure.message})
            plugin.log(failure.message, "warning")
        return failure

    def _abandon(self) -> None:
        self._partial = {"bytes_written": self.place.written, "disk": "wiped"}
        try:
            self.place.abandon()
            self._state = self.place.abandoned
        except OSError as trouble:
            self._state = f"could not be wiped ({trouble.strerror}) and is in an unknown state"

    def _as_failure(self, error: BaseException, source: Source | None) -> plugin.Failed:
        if isinstance(error, Stopped):
            where = f"after {source.offset} bytes of {source.name}" if source else "before the next source was tried"
            return plugin.Failed("stopped", f"stopped {where}")
        if isinstance(error, OSError):
            return plugin.Failed("write_failed", f"{self.name}: {error.strerror or error}")
        if not isinstance(error, plugin.Failed):
            raise error
        return error

    def _told(self, error: plugin.Failed) -> plugin.Failed:
        """The error to raise: with what became of every source, and of the place."""
        if len(self.failed) > 1 and error.code not in FINAL:
            each = "; ".join(failure["message"] for failure in self.failed)
            error = plugin.Failed("no_source", f"none of {len(self.failed)} sources gave the image: {each}")
        if len(self.failed) > 1:
            error.details = {**error.details, "failed": self.failed}
        error.message += f"; {self.name} {self._state}"
        error.args = (error.message,)
        error.partial = self._partial
        return error


def _linger(source: Source) -> None:
    """A peer of a swarm serves others for a while, if the request says so. SIGTERM ends that, not the image."""
    if not hasattr(source, "linger"):
        return
    with contextlib.suppress(Stopped):
        signal.signal(signal.SIGTERM, _stop)
        try:
            source.linger()
        except (plugin.Failed, OSError) as error:
            plugin.warn(f"The image is written, but it could not be served to others: {error}")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise Stopped
