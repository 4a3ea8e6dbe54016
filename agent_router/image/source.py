"""Read an image from a web server, over as many connections as it takes.

A broken connection is taken up where it broke, by Range with If-Range (RFC 9110, 13.1.5 and
14.2), as long as new bytes come: `patience_s` without one is the end. Nothing of a URL but
host and path, and no header, ever reaches a log: both may carry secrets.
"""

import http.client
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any
from urllib.request import Request

from agent_router import plugin

FIRST_PAUSE_S = 0.05
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


def shown(url: str) -> str:
    """The URL without query and user: a signed URL is a secret."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Headers of the request (a token) are for the server they were meant for, not for where it points."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and origin(newurl) != origin(req.full_url):
            for key in getattr(req, "secret_headers", ()):
                new.remove_header(key.capitalize())
        elif new is not None:
            new.secret_headers = getattr(req, "secret_headers", ())  # type: ignore[attr-defined]
        return new


def _opener() -> urllib.request.OpenerDirector:
    # Built by hand: the default one would also follow a redirect to ftp.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler, _Redirects,
        urllib.request.HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


class Source:
    """One image: open(), then readinto() until it returns 0.

    `size` is the length in bytes, None if the server does not tell; `offset` what was read so
    far; `resumed` how many times the connection was taken up again.
    """

    def __init__(self, url: str, headers: dict[str, str], patience_s: float, digest_known: bool) -> None:
        self.url = url
        self.headers = headers
        self.patience_s = patience_s
        self.digest_known = digest_known
        self.size: int | None = None
        self.offset = 0
        self.resumed = 0
        self._validator: str | None = None
        self._last_byte = time.monotonic()
        self._pause = FIRST_PAUSE_S
        self._response: Any = None

    def open(self) -> None:
        """Connect and read the headers; raises Failed with a sentence."""
        self._last_byte = time.monotonic()
        self._connect()

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the image goes; 0 at its end. Raises Failed when it cannot be had."""
        filled = 0
        while filled < len(buffer) and self.offset != self.size:
            count = self._read_some(buffer[filled:])
            if count == 0 and self.size is None:
                break
            filled += count
        return filled

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _read_some(self, buffer: memoryview) -> int:
        """At least one byte, or 0 at the end of a body of unknown length."""
        while True:
            if self._response is None:
                self._connect()
            try:
                count: int = self._response.readinto(buffer)
                if count == 0 and self.size is not None:
                    raise http.client.IncompleteRead(b"", self.size - self.offset)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                self._wait(f"the connection broke after {self.offset} bytes ({_reason(error)})")
                continue
            if count:
                self.offset += count
                self._last_byte = time.monotonic()
                self._pause = FIRST_PAUSE_S
            return count

    def _wait(self, trouble: str) -> None:
        """Pause before the next try; raises Failed("connection_lost") if it is unsafe or time is up."""
        message = f"{shown(self.url)}: {trouble}"
        if self.offset and not (self._validator or self.digest_known):
            message += "; without an ETag of the server and without sha256 it is not safe to go on from there"
            raise plugin.Failed("connection_lost", message)
        left = self._last_byte + self.patience_s - time.monotonic()
        if left <= 0:
            raise plugin.Failed("connection_lost", f"{message}; no new byte for {self.patience_s:g} s")
        plugin.log(message, "warning")
        time.sleep(min(self._pause, left))
        self._pause = min(self._pause * 2, 5.0)

    def _connect(self) -> None:
        while True:
            try:
                self._response = self._request()
                break
            except (OSError, http.client.HTTPException) as error:
                if _hopeless(error):
                    raise self._refused(error) from None
                try:
                    self._wait(_reason(error))
                except plugin.Failed:
                    # Nothing was lost if it never began: then the plain reason is the better message.
                    if self.offset == 0:
                        raise self._refused(error) from None
                    raise
        if self.offset:
            self.resumed += 1
            self._check_resumed()
        else:
            self._learn()

    def _refused(self, error: Exception) -> plugin.Failed:
        status = error.code if isinstance(error, urllib.error.HTTPError) else None
        if status == 416:
            message = (
                f"{shown(self.url)} ends after {self.offset} bytes, the server had announced {self.size}"
            )
            return plugin.Failed("wrong_size", message, details={"expected": self.size, "found": self.offset})
        code = "http_error" if status else "unreachable"
        return plugin.Failed(
            code, f"{shown(self.url)}: {_reason(error)}", details={"status": status} if status else {}
        )

    def _request(self) -> Any:
        request = Request(self.url)  # the schema allows http and https only
        request.add_header("User-Agent", "agent-router")
        # A server that compresses on the way would change the bytes that the digest is of.
        request.add_header("Accept-Encoding", "identity")
        for key, value in self.headers.items():
            request.add_header(key, value)
        request.secret_headers = tuple(self.headers)  # type: ignore[attr-defined]
        if self.offset:
            request.add_header("Range", f"bytes={self.offset}-")
            if self._validator:
                request.add_header("If-Range", self._validator)
        # A third, so that a server that fell silent is tried again before patience ends.
        return _opener().open(request, timeout=max(self.patience_s / 3, 0.1))

    def _learn(self) -> None:
        headers = self._response.headers
        encoding = headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise plugin.Failed(
                "encoded", f"{shown(self.url)}: the server sends it as {encoding} though asked not to"
            )
        # http.client knows the length if it is sent and the body is not chunked.
        self.size = self._response.length
        etag = headers.get("ETag", "")
        # A weak ETag does not promise the same bytes (RFC 9110, 8.8.1).
        self._validator = etag if etag.startswith('"') else None

    def _check_resumed(self) -> None:
        status, headers = self._response.status, self._response.headers
        if status == 206:
            start, total = parse_content_range(headers.get("Content-Range", ""))
            if start == self.offset and (self.size is None or total in (None, self.size)):
                self.size = total if self.size is None else self.size
                return
            trouble = f"the server answered with {headers.get('Content-Range')} after {self.offset} bytes"
        elif self._validator and headers.get("ETag") != self._validator:
            trouble = "the image on the server was replaced while it was read"
        else:
            trouble = (
                f"the connection broke after {self.offset} bytes and the server cannot resume (no Range)"
            )
        self.close()
        raise plugin.Failed("connection_lost", f"{shown(self.url)}: {trouble}; start again")


def parse_content_range(value: str) -> tuple[int | None, int | None]:
    """(start, total) of `bytes 100-199/200`; None for what is not told."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdigit():
        return None, None
    return int(start), int(total) if total.isdigit() else None


def _hopeless(error: Exception) -> bool:
    """True for what will be the same in half a minute: 404, unknown name, wrong certificate."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in RETRY_STATUS
    inner = getattr(error, "reason", error)
    if isinstance(inner, socket.gaierror):
        return inner.errno != socket.EAI_AGAIN
    # A plain text is urllib's own refusal, e.g. of a redirect to ftp.
    return isinstance(inner, str) or type(inner).__name__ == "SSLCertVerificationError"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"{error.expected} bytes are missing"
    inner = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(inner) or type(error).__name__
