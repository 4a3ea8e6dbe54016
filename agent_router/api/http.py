"""Raw HTTP/1.1: when is a request complete in a buffer, and what does an answer look like.

Parsing is gunicorn's; this only measures, so that no thread waits for a slow sender.
"""

from collections.abc import Sequence
from http import HTTPStatus

MAX_HEADER = 32 << 10
SMALL = 16 << 10
HUGE = 16 << 20  # of a body

Body = Sequence[bytes | memoryview]  # in parts
HEADER_END = b"\r\n\r\n"
TLS_HELLO = b"\x16"


class TooLarge(Exception):
    """The request is over a limit: `status` is 413 or 431."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Arrival:
    """Bytes of one request as they arrive."""

    def __init__(self, max_body: int) -> None:
        self.data = b""  # the request, or the headers only of one with a huge body
        self._parts: list[bytes] = []
        self._huge: bytearray | None = None
        self._have = 0
        self._need = 0  # total length once it is known
        self._max_body = max_body
        self._chunk_at = -1
        self._body_at = 0
        self.expects_continue = False

    def feed(self, data: bytes) -> bool:
        """Take in data; True when the request is complete. TooLarge as soon as it cannot fit."""
        self._have += len(data)
        if self._huge is not None:
            self._huge += data  # it grows where it is, and is never joined or cut out
            return self._have >= self._need
        self._parts.append(data)
        if self._have < self._need:
            return False
        self.data = data if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = [self.data]
        if self._chunk_at >= 0:
            return self._chunks_complete()
        return self._need > 0 or self._measure()

    @property
    def begun(self) -> bool:
        return self._have > 0

    @property
    def length(self) -> int:
        return self._have

    def body(self) -> bytes | bytearray | None:
        """The body of a complete request; None if it is chunked, then the parser has to read it.

        A huge one is the only copy, in a bytearray: who has read it gives its memory back with clear().
        """
        if self._huge is not None:
            return self._huge
        return self.data[self._body_at : self._need] if self._need else None

    def _measure(self) -> bool:
        if self.data[:1] == TLS_HELLO:  # the parser refuses it at once, and the client need not wait
            return True
        end = self.data.find(HEADER_END)
        if (self._have if end < 0 else end) > MAX_HEADER:
            raise TooLarge(431, f"The headers are larger than {MAX_HEADER >> 10} KiB")
        if end < 0:
            return False
        header = self.data[:end].lower()
        self.expects_continue = b"\r\nexpect: 100-continue" in header
        if b"\r\ntransfer-encoding:" in header:
            self._chunk_at = end + len(HEADER_END)
            return self._chunks_complete()
        length = _content_length(header)
        if length > self._max_body:
            raise TooLarge(413, f"The body is larger than {self._max_body / (1 << 20):g} MiB (max_request_mib)")
        self._body_at = end + len(HEADER_END)
        self._need = self._body_at + length
        if length >= HUGE:
            self._huge = bytearray(self.data[self._body_at :])
            self.data = self.data[: self._body_at]
            self._parts = []
        return self._have >= self._need

    def _chunks_complete(self) -> bool:
        """Walk over chunk sizes; a malformed one is left to the parser to refuse."""
        if self._have > self._max_body + MAX_HEADER:
            raise TooLarge(413, f"The body is larger than {self._max_body / (1 << 20):g} MiB (max_request_mib)")
        while (line_end := self.data.find(b"\r\n", self._chunk_at)) >= 0:
            try:
                size = int(self.data[self._chunk_at : line_end].split(b";")[0], 16)
            except ValueError:
                return True
            if size < 0:
                return True
            if size == 0:
                return self.data.find(HEADER_END, line_end - 2) >= 0
            if line_end + 2 + size + 2 > self._have:
                return False
            self._chunk_at = line_end + 2 + size + 2
        return False


def _content_length(header: bytes) -> int:
    at = header.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    text = header[at + 17 :].split(b"\r\n", 1)[0].strip()
    # Nineteen digits are over any limit already; thousands would be more than int() takes.
    return int(text.lstrip(b"0")[:19] or b"0") if text.isdigit() else 0


def response(status: int, body: Body) -> list[memoryview]:
    """A complete JSON answer that ends the connection; a large body is not copied."""
    head = _head(status, sum(map(len, body)))
    if len(body) == 1 and len(body[0]) < SMALL:
        return [memoryview(head + bytes(body[0]))]
    return [memoryview(part) for part in (head, *body) if part]


def _head(status: int, length: int) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode()
