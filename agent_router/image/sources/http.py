"""Read an image from a web server, over as many connections as it takes.

A broken connection is taken up where it broke, as long as new bytes come; without ranges all is read again.
Nothing of a URL but host and path, and no header, ever reaches a log: both may carry secrets.
"""

import http.client
from typing import Any

from agent_router import plugin
from agent_router.image.sources import http_errors
from agent_router.image.sources.http_again import Again
from agent_router.image.sources.http_body import Body, refuse_encoding
from agent_router.image.sources.http_connect import Refused
from agent_router.image.sources.http_parts import Parts
from agent_router.image.sources.http_request import Answer, Client
from agent_router.image.sources.http_resume import (
    CannotResume,
    NoRange,
    Version,
    check_part,
    check_whole,
    unsatisfied_total,
    version,
)
from agent_router.image.sources.patience import Patience
from agent_router.image.sources.spec import Spec


class Http:
    """One image: open(), then readinto() until it returns 0. A protocols.Source."""

    def __init__(self, spec: Spec, offset: int = 0, size: int | None = None, again: bool = True) -> None:
        """With `offset`, go on where another server left off: only if a digest will tell that they had the same.

        Without `again` nothing is read twice: a server that has no ranges is given up, and `whole_only` is true then.
        """
        self.spec = spec
        self.name = spec.name
        self.size = size
        self.offset = offset
        self.resumed = 0
        self.again, self.whole_only = again, False
        self._client = Client(spec)
        self._patience = Patience(spec.patience_s)
        self._twice = Again(spec.name, self._patience)
        self._place = self._client.start
        self._version: Version | None = None
        self._answer: Answer | None = None
        self._body: Body | None = None
        self._parts: Parts | None = None

    def open(self) -> None:
        with self._patience:
            self._connect()

    def readinto(self, buffer: memoryview) -> int:
        self._close_parts()
        filled = 0
        with self._patience:
            while filled < len(buffer) and self.offset != self.size:
                count = self._read_some(buffer[filled:])
                if count == 0:
                    self.size = self.offset
                filled += count
        return filled

    def read_at(self, offset: int, length: int) -> bytes:
        """Fewer bytes only where the image ends. A second connection, so that the one of open() stays as it is."""
        if self._parts is None:
            self._parts = Parts(self.spec, self._client, self._place, self._version)
        return self._parts.read(offset, length)

    def close(self) -> None:
        self._patience.stop()
        self._hang_up()
        self._close_parts()

    def stats(self) -> dict[str, Any]:
        return {"bytes_read_again": self._twice.count} if self._twice.count else {}

    def _close_parts(self) -> None:
        if self._parts is not None:
            self._parts.close()
            self._parts = None

    def _hang_up(self) -> None:
        answer, self._answer, self._body = self._answer, None, None
        if answer is not None:
            answer.close()

    def _read_some(self, buffer: memoryview) -> int:
        """At least one byte, or 0 at the end of an image of unknown size."""
        while self.offset != self.size:
            if self._body is None:
                self._connect()
                continue
            try:
                self._twice.drop(self._body)
                count = self._body.readinto(buffer)
            except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: closed by another thread
                self._hang_up()
                came = self.offset - self._twice.behind
                self._wait(f"the connection broke after {came} bytes ({http_errors.reason(error)})")
                continue
            if count == 0 and self.size is not None:
                self._hang_up()  # a part that ends before the image does: servers may give less than asked for
                continue
            self._patience.refuse_stopped(self.name)  # whose end looks like that of a body of unknown length
            self.offset += count
            self._patience.got(count)
            if self.offset != self.size:
                self._patience.check(f"{self.name}: too slow after {self.offset} bytes")
            return count
        return 0

    def _wait(self, trouble: str, at_least_s: float = 0.0) -> None:
        """Pause before the next try; raises Failed("connection_lost") if it is unsafe or time is up."""
        message = f"{self.name}: {trouble}"
        self._patience.refuse_stopped(self.name)
        safe = self.spec.digest_known or (self._version is not None and self._version.validator)
        if self.offset and not safe:
            message += "; without an ETag of the server and without a digest it is not safe to go on from there"
            raise plugin.Failed("connection_lost", message)
        self._patience.wait(message, at_least_s)

    def _connect(self) -> None:
        while self._answer is None:
            try:
                self._answer = self._client.get(self._place, self._range(), self._patience.timeout_s)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, Refused) and error.status == 416 and self._over(error):
                    return
                self._try_later(error)
        self._patience.refuse_stopped(self.name)
        if self.offset:
            self.resumed += 1
            self._resume(self._answer)
        else:
            self._begin(self._answer)

    def _try_later(self, error: Exception) -> None:
        # Where a redirect led to may be gone by now, or was good for a while only.
        elsewhere, self._place = self._place != self._client.start, self._client.start
        if http_errors.hopeless(error) and not elsewhere:
            raise http_errors.failed(self.name, error) from None
        try:
            self._wait(http_errors.reason(error), getattr(error, "retry_after_s", 0.0))
        except plugin.Failed as given_up:
            # Nothing was lost if it never began: then the plain reason is the better message.
            if self.offset == 0 and given_up.code != "stopped":
                raise http_errors.failed(self.name, error) from None
            raise

    def _over(self, error: Refused) -> bool:
        """416: there is nothing after `offset`. True if that is the end of the image, of which nobody told the size."""
        if self.size is None and unsatisfied_total(error.content_range) == self.offset:
            self.size = self.offset
            return True
        if self.offset == 0:
            return False
        message = f"{self.name} ends after {self.offset} bytes, the server had announced {self.size}"
        raise plugin.Failed("wrong_size", message, details={"expected": self.size, "found": self.offset})

    def _range(self) -> dict[str, str]:
        if not self.offset:
            return {}
        headers = {"Range": f"bytes={self.offset}-"}
        first = self._version
        # A redirect may lead to another mirror this time, whose validators differ: then the digest is the judge.
        if first is not None and first.validator and (self._place.url == first.url or not self.spec.digest_known):
            headers["If-Range"] = first.validator
        return headers

    def _begin(self, answer: Answer) -> None:
        response = answer.response
        if response.status == 206:
            self._hang_up()
            raise plugin.Failed("http_error", f"{self.name}: the server gave a part, asked was for the whole")
        refuse_encoding(response, answer.place.url, self.name)
        self._version = version(response, answer.place.url)
        self._place = answer.place
        expected, found = self.spec.size_bytes if self.size is None else self.size, self._version.size
        if None not in (expected, found) and expected != found:
            message = f"{self.name} has {found} bytes, expected were {expected}"
            raise plugin.Failed("wrong_size", message, details={"expected": expected, "found": found})
        self.size = found if self.size is None else self.size
        self._body = Body(response, found)

    def _resume(self, answer: Answer) -> None:
        try:
            total, length = self._rest(answer)
        except CannotResume as error:
            self._hang_up()
            self.whole_only = isinstance(error, NoRange)
            message = f"{self.name}: {error}, after {self.offset} bytes; {error.cure}"
            raise plugin.Failed("connection_lost", message) from None
        refuse_encoding(answer.response, answer.place.url, self.name)
        self._place = answer.place
        self.size = total if self.size is None else self.size
        self._body = Body(answer.response, length)

    def _rest(self, answer: Answer) -> tuple[int | None, int | None]:
        """How many bytes the image has, and how many `answer`: the rest of it, or all of it once more."""
        response, url = answer.response, answer.place.url
        try:
            span = check_part(response, url, self._version, self.offset, self.size)
        except NoRange:
            if not self.again:
                raise
            total = check_whole(response, url, self._version, self.offset, self.size, self.spec.digest_known)
            self._twice.start(self.offset)
            return total, total
        self._twice.behind = 0
        return span.total, span.end - span.start + 1
