"""The body of one answer, taken straight into the caller's buffer."""

import http.client
import time
import urllib.parse

from agent_router import plugin

GATHER_S = 0.1
GZIP = {"gzip", "x-gzip"}


class Body:
    """`length` is None if only the connection or the chunks tell where it ends."""

    def __init__(self, response: http.client.HTTPResponse, length: int | None) -> None:
        self._response = response
        self._left = length
        self._error: Exception | None = None

    def readinto(self, buffer: memoryview) -> int:
        """What comes within a short time, a byte at least; 0 at the end. Raises IncompleteRead if it is cut off.

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
            self._error = error  # what came before counts; the next call tells
        return filled


def refuse_encoding(response: http.client.HTTPResponse, url: str, name: str) -> None:
    """Raise Failed("encoded") if these are not the bytes as published."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    # Some servers declare a .gz file so. It is sent as it lies there, and that is what its digest is of.
    stored = encoding in GZIP and urllib.parse.urlsplit(url).path.endswith((".gz", ".tgz"))
    if encoding != "identity" and not stored:
        raise plugin.Failed("encoded", f"{name}: the server sends it as {encoding} though asked not to")
