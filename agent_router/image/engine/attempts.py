"""Try source after source until one gave the right image; in between and at the end the destination is clean.

A source that is unreachable, breaks off or has the wrong bytes is followed by the next one. What is wrong with the
disk, or with the image whatever its source, ends the command.
"""

import contextlib
import dataclasses
import signal
from typing import Any

from agent_router import plugin
from agent_router.image import sources
from agent_router.image.engine.digest import Wanted
from agent_router.image.engine.transfer import WantedImage, transfer
from agent_router.image.protocols import Destination, Lingers, Source
from agent_router.image.sources import Spec
from agent_router.plugin.cancel import Cancelled, ignore_sigterm, raise_on_sigterm

# Another source has the same image for the same disk.
FINAL = {
    "too_large", "write_failed", "device_busy", "read_only", "stopped", "wrong_format", "sector_size", "unsafe_image",
}  # fmt: skip
# Kinds of text (formats/magic.py) that a portal or a proxy sends instead: of this source only.
PAGES = {"html", "xml", "json", "text"}
Failure = dict[str, Any]  # {"source", "code", "message"}


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


class Attempts:
    """All attempts to write one image to one destination, which is called `name` in messages."""

    def __init__(self, destination: Destination, name: str, image: WantedImage) -> None:
        self.destination, self.name, self.image = destination, name, image
        self.failed: list[Failure] = []
        self._tried: set[str] = set()
        self._source: Source | None = None
        self._written = False
        self._partial: dict[str, Any] = {"bytes_written": 0, "disk": "untouched"}
        self._state = "was not touched"

    def run(self, specs: list[Spec]) -> Outcome:
        """The verified image is written; raises one error that names every source and the state of the destination."""
        error = plugin.Failed("no_source", "no source was named")
        try:
            raise_on_sigterm()
            for spec in sources.expand(specs, self.failed):
                if spec.name in self._tried:
                    continue  # a mirror that was given up as part of another source
                try:
                    return self._attempt(spec)
                except BaseException as trouble:
                    error = self._clean_up(trouble)
                    if final(error):
                        break
        except BaseException as trouble:
            error = self._clean_up(trouble)
        raise self._summed_up(error) from None

    def _attempt(self, spec: Spec) -> Outcome:
        self._source = source = sources.make(spec)
        image = self.image
        if not image.wanted and spec.digest is not None:
            image = dataclasses.replace(image, wanted=dict([spec.digest]))
        done = transfer(source, self.destination, image)
        # From here on it is an image: a cancel that comes now is too late.
        ignore_sigterm()
        self.destination.finish()
        self._written = True
        verdict = "written and verified" if image.wanted else "written"
        plugin.progress(source.offset, source.offset, "bytes", verdict)
        stats = source.stats()  # a torrent brings it up to date when it is closed
        stats.update(done.stats)
        failed = self.failed + stats.pop("failed", [])
        if isinstance(source, Lingers):
            _linger(source)
        source.close()
        return Outcome(
            source.name, spec.transport, source.offset, source.resumed, image.wanted, done.digests, failed, stats
        )  # fmt: skip

    def _clean_up(self, error: BaseException) -> plugin.Failed:
        """End the source, wipe the destination if it was begun, and remember what went wrong."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        source, self._source = self._source, None
        try:
            if source is not None:
                source.close()
            if self.destination.begun and not self._written:
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
        self._partial = {"bytes_written": self.destination.written, "disk": "wiped"}
        try:
            self.destination.abandon()
            self._state = self.destination.abandoned
        except OSError as trouble:
            self._state = f"could not be wiped ({trouble.strerror}) and is in an unknown state"

    def _as_failure(self, error: BaseException, source: Source | None) -> plugin.Failed:
        if isinstance(error, Cancelled):
            where = f"after {source.offset} bytes of {source.name}" if source else "before the next source was tried"
            return plugin.Failed("stopped", f"stopped {where}")
        if isinstance(error, OSError):
            return plugin.Failed("write_failed", f"{self.name}: {error.strerror or error}")
        if not isinstance(error, plugin.Failed):
            raise error
        return error

    def _summed_up(self, error: plugin.Failed) -> plugin.Failed:
        """The error to raise: with what became of every source, and of the destination."""
        if len(self.failed) > 1 and not final(error):
            each = "; ".join(failure["message"] for failure in self.failed)
            error = plugin.Failed("no_source", f"none of {len(self.failed)} sources gave the image: {each}")
        if len(self.failed) > 1:
            error.details = {**error.details, "failed": self.failed}
        error.message += f"; {self.name} {self._state}"
        error.args = (error.message,)
        error.partial = self._partial
        return error


def final(error: plugin.Failed) -> bool:
    """Whether the next source would fail in the same way."""
    return error.code in FINAL and error.details.get("found") not in PAGES


def _linger(source: Lingers) -> None:
    """A peer of a swarm serves others for a while, if the request says so. SIGTERM ends that, not the image."""
    with contextlib.suppress(Cancelled):
        raise_on_sigterm()
        try:
            source.linger()
        except (plugin.Failed, OSError) as error:
            plugin.warn(f"The image is written, but it could not be served to others: {error}")
        ignore_sigterm()
