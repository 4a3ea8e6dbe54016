"""Parts from anywhere in an image, over one persistent connection: for formats whose tables must be read first."""

import http.client

from agent_router import plugin
from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources.http import errors
from agent_router.image.sources.http.client import Body, Exchange, HttpClient, Location
from agent_router.image.sources.http.connection import ErrorStatus
from agent_router.image.sources.http.encoding import refuse_encoding
from agent_router.image.sources.http.ranges import CannotResume, NoRange, Version, check_part
from agent_router.image.sources.http.retry_budget import RetryBudget
from agent_router.image.sources.spec import Spec

# Answers to a range of servers that gave the whole a moment ago.
NO_RANGES = {400, 405, 416, 501}


class RandomAccess:
    """`first` is the version of the image that the parts must be of, `location` where it was found."""

    def __init__(self, spec: Spec, client: HttpClient, location: Location, first: Version | None) -> None:
        self._spec = spec
        self._size = first.size if first else None
        self._location = location
        self._first = first
        self._client = client
        self._budget = RetryBudget(spec.patience_s)

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes only where the image ends; raises InOrderOnly if the server gives no parts."""
        if self._size is not None:
            length = max(min(length, self._size - offset), 0)
        found = bytearray(length)
        done = 0
        with self._budget:
            while done < length:
                count = self._read_some(memoryview(found)[done:], offset + done)
                if count == 0:
                    break
                done += count
        return bytes(found[:done])

    def close(self) -> None:
        self._budget.stop()
        self._client.close()

    def _read_some(self, buffer: memoryview, offset: int) -> int:
        """As many bytes as one answer has; 0 at the end of the image."""
        headers = {"Range": f"bytes={offset}-{offset + len(buffer) - 1}"}
        if self._first is not None and self._first.validator:
            headers["If-Range"] = self._first.validator
        while True:
            exchange: Exchange | None = None
            try:
                exchange = self._client.get(self._location, headers, self._budget.timeout_s)
                return self._take(exchange, buffer, offset)
            except CannotResume as error:
                if isinstance(error, NoRange):
                    raise InOrderOnly from None
                raise plugin.Failed("connection_lost", f"{self._spec.name}: {error}; start again") from None
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, ErrorStatus) and error.status in NO_RANGES:
                    if error.status == 416 and self._size is None:
                        return 0
                    raise InOrderOnly from None
                if errors.hopeless(error):
                    raise errors.failed(self._spec.name, error) from None
                self._budget.wait(f"{self._spec.name}: {errors.reason(error)}")
            finally:
                if exchange is not None and not exchange.response.isclosed():
                    exchange.close()

    def _take(self, exchange: Exchange, buffer: memoryview, offset: int) -> int:
        response, url = exchange.response, exchange.location.url
        span = check_part(response, url, self._first, offset, self._size)
        refuse_encoding(response, url, self._spec)
        length = span.end - offset + 1
        if length > len(buffer):
            raise CannotResume(f"the server gave {length} bytes, asked was for {len(buffer)}")
        body, done = Body(response, length), 0
        while done < length:
            count = body.readinto(buffer[done:])
            done += count
            self._budget.got(count)
            self._budget.check(f"{self._spec.name}: too slow")
        self._client.keep(exchange)
        return done
