"""Several servers that have the same bytes: one that fails is followed by the next, from the same offset on.

One without ranges cannot continue from there; when all others have failed it is tried again, from the start.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from agent_router import plugin
from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources.http.source import HttpSource
from agent_router.image.sources.spec import Spec

T = TypeVar("T")


class Mirrors:
    """A Source over spec and spec.mirrors. The digest verifies in the end that they had the same bytes."""

    cannot_wait = False

    def __init__(self, spec: Spec) -> None:
        # With each, whether it may read again what is there already.
        self._waiting = [(dataclasses.replace(one, mirrors=()), False) for one in spec.mirrors]
        self._failed: list[dict[str, Any]] = []
        self._sources = [HttpSource(dataclasses.replace(spec, mirrors=()), again=False)]
        self._follow()

    def open(self) -> None:
        self._try(lambda: self._source.open())

    def readinto(self, buffer: memoryview) -> int:
        start = self.offset
        # What the one that failed had put into the buffer by then is as good as its offset says.
        self._try(lambda: self._source.readinto(buffer[self._source.offset - start :]))
        return self.offset - start

    def read_at(self, offset: int, length: int) -> bytes:
        while True:
            try:
                return self._try(lambda: self._source.read_at(offset, length))
            except InOrderOnly:
                old = self._source
                if all(again for _, again in self._waiting):
                    raise  # none of the others can
                self._waiting.append((old.spec, True))
                self._go_on(f"{old.name}: the server does not support ranges")
                self._follow()

    def close(self) -> None:
        self._waiting.clear()
        self._source.close()

    def stats(self) -> dict[str, Any]:
        again = sum(one.stats().get("bytes_read_again", 0) for one in self._sources)
        return {key: value for key, value in {"failed": self._failed, "bytes_read_again": again}.items() if value}

    @property
    def _source(self) -> HttpSource:
        return self._sources[-1]

    def _follow(self) -> None:
        self.name, self.size, self.offset = self._source.name, self._source.size, self._source.offset
        self.resumed = sum(one.resumed for one in self._sources)

    def _try(self, work: Callable[[], T]) -> T:
        while True:
            try:
                return work()
            except plugin.Failed as error:
                self._next(error)
            finally:
                self._follow()

    def _next(self, error: plugin.Failed) -> None:
        """Go over to the next mirror; raises `error` if there is none."""
        old = self._source
        if error.code == "stopped":
            raise error
        if old.whole_only and not old.again:
            self._waiting.append((old.spec, True))
        if not self._waiting:
            raise error
        self._failed.append({"source": old.name, "code": error.code, "message": error.message})
        self._go_on(error.message)

    def _go_on(self, trouble: str) -> None:
        old, (new, again) = self._source, self._waiting.pop(0)
        plugin.log(f"{trouble}; {new.name} is next", "warning")
        old.close()
        self._sources.append(HttpSource(new, old.offset, old.size, again))
