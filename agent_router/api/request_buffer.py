"""One HTTP/1.1 request as it arrives: its header for gunicorn's parser, its body counted, unchunked and kept.

No thread waits for a slow sender, no byte is looked at twice, and a large body goes to a file.
"""

from __future__ import annotations

from agent_router.ipc.spool import LARGE, Spooled
from agent_router.schema.problems import RequestError

MAX_HEADER = 32 << 10
MAX_CHUNK_LINE = 256
MIN_LINES, BYTES_PER_LINE = 8192, 64  # lines between chunks: so many, and one more for so many bytes of the body
MIB = 1 << 20

HEADER_END = b"\r\n\r\n"
TLS_HELLO = b"\x16"


class RequestBuffer:
    """Bytes of one request. After feed() was True, `header` and `body` or `spooled` hold all of it."""

    def __init__(self, max_body: int, state: str) -> None:
        self.header = b""
        self.length = 0  # of the body, as far as it is here
        self.spooled: Spooled | None = None
        self.expects_continue = False
        self._max_body = max_body
        self._state = state
        self._kept = bytearray()  # of the body, what is not in the file
        self._waiting = bytearray()  # the header, or a line between chunks, while it is incomplete
        self._left = 0  # bytes missing of the body or of the chunk
        self._chunked = False
        self._trailer = False
        self._chunk_ended = False
        self._lines = 0

    @property
    def begun(self) -> bool:
        return bool(self.header or self._waiting)

    @property
    def has_body(self) -> bool:
        """Whether the header says that one follows."""
        return self._chunked or self._left + self.length > 0

    @property
    def body(self) -> bytes:
        """The whole body, unless it is spooled."""
        return bytes(self._kept)

    def feed(self, data: bytes) -> bool:
        """Take in data; True when the request is complete. RequestError as soon as it cannot be."""
        if not self.header:
            seen = max(0, len(self._waiting) - len(HEADER_END))
            self._waiting += data
            if not self._take_header(seen):
                return False
            data, self._waiting = bytes(self._waiting[len(self.header) :]), bytearray()
        return self._take_chunks(data) if self._chunked else self._take_body(data)

    def _take_header(self, seen: int) -> bool:
        if self._waiting[:1] == TLS_HELLO:
            raise RequestError(
                400, "http_invalid", "Not an HTTP request: it begins like TLS; this port speaks plain HTTP"
            )
        end = self._waiting.find(HEADER_END, seen)
        if (len(self._waiting) if end < 0 else end) > MAX_HEADER:
            raise RequestError(431, "request_too_large", f"The headers are larger than {MAX_HEADER >> 10} KiB")
        if end < 0:
            return False
        self.header = bytes(self._waiting[: end + len(HEADER_END)])
        lower = self.header.lower()
        self.expects_continue = b"\r\nexpect: 100-continue" in lower
        self._chunked = b"\r\ntransfer-encoding:" in lower
        if not self._chunked:
            self._left = _content_length(lower)
            self._limit(self._left)
        return True

    def _take_body(self, data: bytes) -> bool:
        self._keep(data if len(data) <= self._left else data[: self._left])
        return not self._left and self._flush()

    def _take_chunks(self, data: bytes) -> bool:
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                self._keep(part)
                at += len(part)
                self._chunk_ended = not self._left
                continue
            end = data.find(b"\n", at)
            self._waiting += data[at : end + 1 or len(data)]
            if len(self._waiting) > MAX_CHUNK_LINE:
                raise RequestError(400, "http_invalid", "Not an HTTP request: a line between two chunks has no end")
            if end < 0:
                return False
            at = end + 1
            line, self._waiting = bytes(self._waiting).strip(b"\r\n"), bytearray()
            if self._take_line(line):
                return True
        return False

    def _take_line(self, line: bytes) -> bool:
        """A line that is not of a chunk's content; whether it is the last one."""
        self._lines += 1
        if self._lines > MIN_LINES + self.length // BYTES_PER_LINE:  # each costs more than its content
            raise RequestError(400, "http_invalid", "The body comes in too many small chunks")
        if self._trailer:
            return not line and self._flush()
        if self._chunk_ended:
            if line:
                raise RequestError(400, "http_invalid", "Not an HTTP request: a chunk is longer than its size")
            self._chunk_ended = False
            return False
        size = line.split(b";")[0].strip()
        if not size or len(size) > 16 or size.strip(b"0123456789abcdefABCDEF"):
            raise RequestError(400, "http_invalid", f"Not an HTTP request: {size[:20]!r} is not the size of a chunk")
        self._left = int(size, 16)
        self._limit(self.length + self._left)
        self._trailer = self._left == 0
        return False

    def _keep(self, data: bytes) -> None:
        self._kept += data
        self._left -= len(data)
        self.length += len(data)
        if len(self._kept) > LARGE:
            self._write()

    def _flush(self) -> bool:
        """The request is complete."""
        if self.spooled is not None:
            self._write()
        return True

    def _write(self) -> None:
        try:
            if self.spooled is None:
                self.spooled = Spooled(self._state)
            self.spooled.write(self._kept)
        except OSError as error:
            text = f"The body does not fit in the state directory: {error.strerror}"
            raise RequestError(503, "state_full", text) from None
        self._kept = bytearray()

    def _limit(self, length: int) -> None:
        if length > self._max_body:
            text = f"The body is larger than {self._max_body / MIB:g} MiB (setting max_request_mib)"
            raise RequestError(413, "request_too_large", text)


def _content_length(header: bytes) -> int:
    """Of a lower-case header; what is no number is left to the parser to refuse."""
    at = header.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    text = header[at + 17 :].split(b"\r\n", 1)[0].strip()
    # Nineteen digits are over any limit already; thousands would be more than int() takes.
    return int(text.lstrip(b"0")[:19] or b"0") if text.isdigit() else 0
