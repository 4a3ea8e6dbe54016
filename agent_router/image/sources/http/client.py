"""One request to a web server: headers, redirects, who gets the secrets, and the body of the answer."""

import contextlib
import http.client
import re
import socket
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agent_router import plugin
from agent_router.image.sources.http.connection import (
    Connector,
    ErrorStatus,
    host_header,
    origin,
    prepared,
    retry_after_s,
)
from agent_router.image.sources.spec import Spec, shown

MOST_REDIRECTS = 10
REDIRECTS = {301, 302, 303, 307, 308}
# 203 is 200 through a proxy that changed headers; nothing else has the bytes.
FINE = {200, 203, 206}
# Set by this module; with other values the caller would misunderstand the answer.
RESERVED = {"host", "range", "if-range", "accept-encoding", "connection", "content-length", "transfer-encoding"}


class Location(NamedTuple):
    """Where to send the request. `trusted`: this is still the server that the secrets are for."""

    url: str
    trusted: bool


@dataclass
class Exchange:
    response: http.client.HTTPResponse
    location: Location
    connection: http.client.HTTPConnection
    sock: socket.socket | None

    def close(self) -> None:
        """Works at once, even while another thread waits for bytes."""
        if self.sock is not None:
            with contextlib.suppress(OSError):  # the other side was faster
                self.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self.connection.close()


class HttpClient:
    """Sends GET requests for one spec; keep() saves a connection for the next one."""

    def __init__(self, spec: Spec) -> None:
        check_headers(spec.headers)
        prepared(spec.url)
        self._spec = spec
        self._connector = Connector(spec)
        self._kept: tuple[tuple[str, str | None, int | None], http.client.HTTPConnection] | None = None
        self.start = Location(spec.url, True)

    def get(self, location: Location, headers: Mapping[str, str], timeout_s: float) -> Exchange:
        """The answer after all redirects, its body unread.

        Raises OSError or HTTPException (ErrorStatus for a status), which may be temporary, or plugin.Failed.
        """
        for _ in range(MOST_REDIRECTS + 1):
            exchange = self._ask(location, headers, timeout_s)
            status, elsewhere = exchange.response.status, exchange.response.headers.get("Location")
            if status in FINE:
                return exchange
            exchange.close()
            if status not in REDIRECTS or not elsewhere:
                raise self._refusal(exchange)
            location = self._follow(location, elsewhere)
        raise plugin.Failed("http_error", f"{self._spec.name}: more than {MOST_REDIRECTS} redirects")

    def keep(self, exchange: Exchange) -> None:
        """The body was read to its end: the connection may serve the next request."""
        if exchange.response.will_close:
            exchange.close()
        else:
            exchange.response.close()
            self._kept = (origin(exchange.location.url), exchange.connection)

    def close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def _ask(self, location: Location, headers: Mapping[str, str], timeout_s: float) -> Exchange:
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == origin(location.url):
            try:
                return self._exchange(location, headers, timeout_s, kept[1])
            except (ConnectionError, http.client.HTTPException):
                pass  # idle for too long: the server may hang up at any time
        elif kept is not None:
            kept[1].close()
        return self._exchange(location, headers, timeout_s, None)

    def _exchange(
        self,
        location: Location,
        headers: Mapping[str, str],
        timeout_s: float,
        connection: http.client.HTTPConnection | None,
    ) -> Exchange:
        parts = prepared(location.url)
        wanted, proxy_headers = self._connector.asked(parts)
        made = connection or self._connector.connect(parts, timeout_s)
        try:
            made.putrequest("GET", wanted, skip_host=True, skip_accept_encoding=True)
            # A server that compresses on the way would change the bytes that the digest is of.
            fixed = {"Host": host_header(parts), "User-Agent": "agent-router", "Accept-Encoding": "identity"}
            own = self._spec.headers if location.trusted else {}
            for key, value in {**fixed, **proxy_headers, **headers, **own}.items():
                made.putheader(key, value)
            made.endheaders()
            sock = made.sock  # http.client lets go of it when the answer says "Connection: close"
            return Exchange(made.getresponse(), location, made, sock)
        except BaseException:
            made.close()
            raise

    def _follow(self, location: Location, elsewhere: str) -> Location:
        # http.client takes headers for Latin-1; servers send UTF-8.
        target = urllib.parse.urljoin(location.url, elsewhere.encode("latin-1", "replace").decode("utf-8", "replace"))
        name = f"{shown(location.url)} redirects to {shown(target)}"
        scheme = urllib.parse.urlsplit(target).scheme
        if scheme not in ("http", "https"):
            raise plugin.Failed("http_error", f"{name}, and only http and https are followed")
        if scheme == "http" and origin(location.url)[0] == "https" and not self._spec.digest_known:
            message = (
                f"{name}: from https to http, where anyone on the path could change it; a digest is required for that"
            )
            raise plugin.Failed("http_error", message)
        try:
            prepared(target)
        except plugin.InvalidRequest as error:  # the server's fault, not that of the command
            raise plugin.Failed("http_error", f"{name}: {error.message}") from None
        return Location(target, location.trusted and same_server(location.url, target))

    def _refusal(self, exchange: Exchange) -> ErrorStatus:
        response = exchange.response
        content_range = response.headers.get("Content-Range", "")
        error = ErrorStatus(response.status, response.reason, retry_after_s(response.headers), content_range)
        if not exchange.location.trusted and self._spec.headers:
            error.withheld = (
                f"the headers of the request were not sent to {shown(exchange.location.url)}, since that is another "
                "server than the one that redirects to it: give that URL as the source"
            )
        return error


def same_server(url: str, target: str) -> bool:
    """Whether a secret for `url` may go to `target`: the same origin, or http upgraded to https on the usual ports."""
    host, before, after = origin(url)[1], origin(url), origin(target)
    return before == after or (before, after) == (("http", host, 80), ("https", host, 443))


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise InvalidRequest("bad_header") for what must not or cannot be sent; never with the value."""
    for key, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key):  # a token (RFC 9110, 5.6.2)
            raise plugin.InvalidRequest("bad_header", f"{key!r} is not the name of a header")
        if key.lower() in RESERVED:
            raise plugin.InvalidRequest("bad_header", f"The header {key} is set by the agent itself; leave it out")
        if not re.fullmatch(r"[\t -~\xa0-\xff]*", value):
            message = f"The value of the header {key} has a line break or a letter that cannot be sent"
            raise plugin.InvalidRequest("bad_header", message)


GATHER_S = 0.1


class Body:
    """`length` is None if only the connection or the chunks show where it ends."""

    def __init__(self, response: http.client.HTTPResponse, length: int | None) -> None:
        self._response = response
        self._left = length
        self._error: Exception | None = None

    def readinto(self, buffer: memoryview) -> int:
        """What arrives within a short time, at least a byte; 0 at the end. Raises IncompleteRead if it is cut off.

        HTTPResponse.readinto() waits until the buffer is full, which for a server that drips is never.
        """
        if self._left is not None:
            buffer = buffer[: self._left]
        if not len(buffer):
            return 0
        count = self._chunk(buffer) if self._response.chunked else self._plain(buffer)
        if self._left is not None:
            if count == 0:
                raise http.client.IncompleteRead(b"", self._left)
            self._left -= count
        return count

    def _chunk(self, buffer: memoryview) -> int:
        data = self._response.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _plain(self, buffer: memoryview) -> int:
        """One call for many reads of the socket: with TLS each of them has 16 KiB at most."""
        if self._error is not None:
            raise self._error
        filled, until = 0, time.monotonic() + GATHER_S
        try:
            while filled < len(buffer) and time.monotonic() < until:
                count = self._response.fp.readinto1(buffer[filled:])
                if count == 0:
                    break
                filled += count
        except OSError as error:
            if not filled:
                raise
            self._error = error  # what came before counts; the next call raises
        return filled
