"""Parts from anywhere in an image, over one persistent connection: for formats whose tables must be read first."""

import http.client

from agent_router import plugin
from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources.http import errors
from agent_router.image.sources.http.asker import Asker
from agent_router.image.sources.http.client import Body, Exchange, HttpClient
from agent_router.image.sources.http.connection import ErrorStatus
from agent_router.image.sources.http.encoding import refuse_encoding
from agent_router.image.sources.http.ranges import CannotResume, NoRange, check_part
from agent_router.image.sources.spec import Spec

# Answers to a range of servers that gave the whole a moment ago.
NO_RANGES = {400, 405, 416, 501}


class RandomAccess:
    """Parts of the image that `found` has found, with patience of its own."""

    def __init__(self, spec: Spec, client: HttpClient, found: Asker) -> None:
        self._spec = spec
        self._client = client
        self._asker = Asker(spec, client)
        self._asker.first, self._asker.location = found.first, found.location
        self._size = found.first.size if found.first else None

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes only where the image ends; raises InOrderOnly if the server gives no parts."""
        if self._size is not None:
            length = max(min(length, self._size - offset), 0)
        found = bytearray(length)
        done = 0
        with self._asker.budget:
            while done < length:
                count = self._read_some(memoryview(found)[done:], offset + done)
                if count == 0:
                    break
                done += count
        return bytes(found[:done])

    def close(self) -> None:
        self._asker.budget.stop()
        self._client.close()

    def _read_some(self, buffer: memoryview, offset: int) -> int:
        """As many bytes as one answer has; 0 at the end of the image."""
        while True:
            exchange: Exchange | None = None
            try:
                exchange = self._asker.ask(offset, offset + len(buffer) - 1, told=NO_RANGES)
                return self._take(exchange, buffer, offset)
            except NoRange:
                raise InOrderOnly from None
            except CannotResume as error:
                raise plugin.Failed("connection_lost", f"{self._spec.name}: {error}; start again") from None
            except ErrorStatus as error:
                if error.status == 416 and self._size is None:
                    return 0
                raise InOrderOnly from None
            except (OSError, http.client.HTTPException) as error:
                self._asker.wait(errors.reason(error), 0)
            finally:
                if exchange is not None and not exchange.response.isclosed():
                    exchange.close()

    def _take(self, exchange: Exchange, buffer: memoryview, offset: int) -> int:
        response, url = exchange.response, exchange.location.url
        asker = self._asker
        span = check_part(response, url, asker.judge, offset, self._size, strict=asker.strict)
        refuse_encoding(response, url, self._spec)
        length = span.end - offset + 1
        if length > len(buffer):
            raise CannotResume(f"the server gave {length} bytes, asked was for {len(buffer)}")
        body, done = Body(response, length), 0
        while done < length:
            count = body.readinto(buffer[done:])
            done += count
            self._asker.budget.got(count)
            self._asker.budget.check(f"{self._spec.name}: too slow")
        self._client.keep(exchange)
        return done
