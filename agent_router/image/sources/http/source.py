"""Read an image from a web server, over as many connections as it takes.

A broken connection is resumed where it broke, as long as new bytes come; without ranges everything is read again, if
the server vouches that it is the same file (ranges.check_whole) or a digest tells in the end. Of a URL only host and
path reach a log, and no header: both may carry secrets.
"""

import http.client
import time
from typing import Any

from agent_router import plugin
from agent_router.image.sources.http import errors
from agent_router.image.sources.http.asker import Asker
from agent_router.image.sources.http.client import Body, Exchange, HttpClient
from agent_router.image.sources.http.connection import ErrorStatus
from agent_router.image.sources.http.encoding import refuse_encoding
from agent_router.image.sources.http.random_access import RandomAccess
from agent_router.image.sources.http.ranges import (
    CannotResume,
    NoRange,
    check_part,
    check_whole,
    unsatisfied_total,
    version,
)
from agent_router.image.sources.http.retry_budget import RetryBudget
from agent_router.image.sources.spec import Spec

SCRATCH = 1 << 18
# A server that always breaks off at the same place would be read forever: it is given up when this many times what is
# there was read again and nothing new came. One that breaks off earlier costs only time, which RetryBudget counts.
MOST_READINGS = 3
# New means a hundredth more, else one that breaks off a few bytes later each time would be read forever too.
WORTH = 100


class HttpSource:
    """One image. A Source."""

    cannot_wait = False

    def __init__(self, spec: Spec, offset: int = 0, size: int | None = None, again: bool = True) -> None:
        """With `offset`, continue where another server left off: only if a digest verifies in the end that they agree.

        Without `again` nothing is read twice: a server without ranges is given up, and `whole_only` is true then.
        """
        self.spec = spec
        self.name = spec.name
        self.size = size
        self.offset = offset
        self.resumed = 0
        self.again, self.whole_only = again, False
        self._client = HttpClient(spec)
        self._asker = Asker(spec, self._client)
        self._read_again = ReadAgain(spec.name, self._asker.budget)
        self._exchange: Exchange | None = None
        self._body: Body | None = None
        self._random_access: RandomAccess | None = None

    def open(self) -> None:
        with self._asker.budget:
            self._connect()

    def readinto(self, buffer: memoryview) -> int:
        self._close_random_access()
        filled = 0
        with self._asker.budget:
            while filled < len(buffer) and self.offset != self.size:
                count = self._read_some(buffer[filled:])
                if count == 0:
                    self.size = self.offset
                filled += count
        return filled

    def read_at(self, offset: int, length: int) -> bytes:
        """Fewer bytes only where the image ends. A second connection, so that the one of open() stays as it is."""
        if self._random_access is None:
            self._random_access = RandomAccess(self.spec, self._client, self._asker)
        return self._random_access.read(offset, length)

    def close(self) -> None:
        self._asker.budget.stop()
        self._hang_up()
        self._close_random_access()

    def stats(self) -> dict[str, Any]:
        return {"bytes_read_again": self._read_again.count} if self._read_again.count else {}

    def _close_random_access(self) -> None:
        if self._random_access is not None:
            self._random_access.close()
            self._random_access = None

    def _hang_up(self) -> None:
        exchange, self._exchange, self._body = self._exchange, None, None
        if exchange is not None:
            exchange.close()

    def _read_some(self, buffer: memoryview) -> int:
        """At least one byte, or 0 at the end of an image of unknown size."""
        while self.offset != self.size:
            if self._body is None:
                self._connect()
                continue
            try:
                self._read_again.drop(self._body)
                count = self._body.readinto(buffer)
            except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: closed by another thread
                self._hang_up()
                came = self.offset - self._read_again.behind
                self._asker.wait(f"the connection broke after {came} bytes ({errors.reason(error)})", self.offset)
                continue
            if count == 0 and self.size is not None:
                self._hang_up()  # a part that ends before the image does: servers may give less than asked for
                continue
            self._asker.budget.refuse_stopped(
                self.name
            )  # a closed connection looks like the end of a body of unknown length
            self.offset += count
            self._asker.budget.got(count)
            if self.offset != self.size:
                self._asker.budget.check(f"{self.name}: too slow after {self.offset} bytes")
            return count
        return 0

    def _connect(self) -> None:
        if self._exchange is None:
            try:
                self._exchange = self._asker.ask(self.offset, told={416})
            except ErrorStatus as error:
                if self._over(error):
                    return
                raise errors.failed(self.name, error) from None
        self._asker.budget.refuse_stopped(self.name)
        if self.offset:
            self.resumed += 1
            self._resume(self._exchange)
        else:
            self._begin(self._exchange)

    def _over(self, error: ErrorStatus) -> bool:
        """416: there is nothing after `offset`. True if that is the end of an image of unknown size."""
        if self.size is None and unsatisfied_total(error.content_range) == self.offset:
            self.size = self.offset
            return True
        if self.offset == 0:
            return False
        message = f"{self.name} ends after {self.offset} bytes, the server had announced {self.size}"
        raise plugin.Failed("wrong_size", message, details={"expected": self.size, "found": self.offset})

    def _begin(self, exchange: Exchange) -> None:
        response = exchange.response
        if response.status == 206:
            self._hang_up()
            raise plugin.Failed("http_error", f"{self.name}: the server sent a part although the whole was requested")
        refuse_encoding(response, exchange.location.url, self.spec)
        self._asker.first = begun = version(response, exchange.location.url)
        self._asker.location = exchange.location
        expected, found = self.spec.size_bytes if self.size is None else self.size, begun.size
        if None not in (expected, found) and expected != found:
            message = f"{self.name} has {found} bytes, expected {expected}"
            raise plugin.Failed("wrong_size", message, details={"expected": expected, "found": found})
        self.size = found if self.size is None else self.size
        self._body = Body(response, found)

    def _resume(self, exchange: Exchange) -> None:
        try:
            total, length = self._rest(exchange)
        except CannotResume as error:
            self._hang_up()
            self.whole_only = isinstance(error, NoRange)
            message = f"{self.name}: {error}, after {self.offset} bytes; {error.cure}"
            raise plugin.Failed("connection_lost", message) from None
        refuse_encoding(exchange.response, exchange.location.url, self.spec)
        self._asker.location = exchange.location
        self.size = total if self.size is None else self.size
        self._body = Body(exchange.response, length)

    def _rest(self, exchange: Exchange) -> tuple[int | None, int | None]:
        """How many bytes the image has, and how many `exchange`: the rest of it, or all of it again."""
        response, url, asker = exchange.response, exchange.location.url, self._asker
        try:
            span = check_part(response, url, asker.judge, self.offset, self.size, strict=asker.strict)
        except NoRange:
            if not self.again:
                raise
            total = check_whole(response, url, asker.first, self.offset, self.size, self.spec.digest_known)
            self._read_again.start(self.offset)
            return total, total
        self._read_again.behind = 0
        return span.total, span.end - span.start + 1


class ReadAgain:
    """From a server without ranges. Of the body at hand, `behind` bytes had come before; `count` is all read again."""

    def __init__(self, name: str, budget: RetryBudget) -> None:
        self.behind = 0
        self.count = 0
        self._name, self._budget = name, budget
        self._furthest = 0
        self._in_vain = 0

    def start(self, offset: int) -> None:
        """A body from the start begins, `offset` bytes are there; raises NoRange if the last ones brought nothing."""
        if offset > self._furthest + self._furthest // WORTH:
            self._furthest, self._in_vain = offset, 0
        if self._in_vain >= MOST_READINGS * self._furthest:
            raise NoRange("the server cannot resume (no Range) and broke off repeatedly before anything new came")
        self.behind = offset
        plugin.log(
            f"{self._name}: the server does not support ranges, so the first {offset} bytes are read again", "warning"
        )

    def drop(self, body: Body) -> None:
        """Skip what came before in `body`; raises IncompleteRead if it ends there."""
        scratch = memoryview(bytearray(min(self.behind, SCRATCH)))
        while self.behind:
            began = time.monotonic()
            count = body.readinto(scratch[: self.behind])
            if count == 0:
                raise http.client.IncompleteRead(b"", self.behind)
            self.behind -= count
            self.count += count
            self._in_vain += count
            self._budget.excuse(count, time.monotonic() - began)
            self._budget.check(f"{self._name}: still reading again what came before")
