"""A small web server for a few named files: ranges, ETag, HEAD, sendfile(2), and a tracker beside them."""

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from agent_router.seed.scan import ScannedImage

TYPES = {".torrent": "application/x-bittorrent", ".meta4": "application/metalink4+xml", ".bmap": "application/xml"}
STEP = 256 << 10  # bytes a sendfile, so that a rate limit is even
IDLE_S = 60


@dataclass
class ServedFile:
    """One file: an image, or a side file in memory."""

    etag: str
    size: int
    modified_s: float
    image: ScannedImage | None = None
    content: bytes = b""


class Rate:
    """Bytes a second for all connections together; 0 is no limit."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, count: int) -> None:
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + count / self._rate
        time.sleep(at - now)


class ImageServer(ThreadingHTTPServer):
    """Serves `entries` by name and nothing else; `announce` answers the query of a torrent client."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, rate: Rate, announce: Callable[[str, str], bytes]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Handler)
        self.entries: dict[str, ServedFile] = {}
        self.rate = rate
        self.announce = announce

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients may go away at any time


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "agent-router"
    sys_version = ""
    timeout = IDLE_S
    server: ImageServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        parts = urlsplit(self.path)
        name = unquote(parts.path).removeprefix("/")
        if name == "announce":
            return self._small(200, self.server.announce(parts.query, self.client_address[0]), body)
        entry = self.server.entries.get(name)
        if entry is None:
            return self._small(404, b"There is no such file here.\n", body)
        if entry.image is not None and not entry.image.unchanged():
            text = f"{name} was changed after it was published; start agent-router seed again.\n"
            return self._small(503, text.encode(), body)
        if entry.etag in self.headers.get("If-None-Match", ""):
            return self._head(304, entry, name, 0)
        self._give(name, entry, body)

    def _give(self, name: str, entry: ServedFile, body: bool) -> None:
        fresh = self.headers.get("If-Range") in (None, entry.etag)
        asked = span(self.headers.get("Range", ""), entry.size) if fresh else None
        if asked is not None and asked[0] >= asked[1]:
            return self._small(416, b"", body, ("Content-Range", f"bytes */{entry.size}"))
        start, end = asked or (0, entry.size)
        more = (("Content-Range", f"bytes {start}-{end - 1}/{entry.size}"),) if asked else ()
        self._head(206 if asked else 200, entry, name, end - start, *more)
        if body:
            self._send(entry, start, end)

    def _send(self, entry: ServedFile, start: int, end: int) -> None:
        if entry.image is None:
            self.wfile.write(entry.content[start:end])
            return
        with entry.image.path.open("rb") as file:
            while start < end:
                count = min(STEP, end - start)
                self.server.rate.wait(count)
                sent = self.connection.sendfile(file, start, count)  # sendfile(2), and minds the timeout
                if sent == 0:  # cut off meanwhile: the client must see that bytes are missing
                    self.close_connection = True
                    return
                start += sent

    def _head(self, status: int, entry: ServedFile, name: str, length: int, *more: tuple[str, str]) -> None:
        self.send_response(status)
        kind = TYPES.get(os.path.splitext(name)[1], "application/octet-stream")
        fixed = [
            ("Content-Type", kind),
            ("Accept-Ranges", "bytes"),
            ("ETag", entry.etag),
            ("Last-Modified", formatdate(entry.modified_s, usegmt=True)),
        ]
        if status != 304:
            fixed.append(("Content-Length", str(length)))
        for key, value in (*fixed, *more):
            self.send_header(key, value)
        self.end_headers()

    def _small(self, status: int, content: bytes, body: bool, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for key, value in (("Content-Type", "text/plain"), ("Content-Length", str(len(content))), *more):
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def span(header: str, size: int) -> tuple[int, int] | None:
    """(start, end) of a Range with one range; None if it is to be ignored (RFC 9110, 14.2). start == end: cannot be."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(size - int(found[2]), 0), size
    start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if found[2] and int(found[2]) < start:
        return None
    return min(start, size), max(end, min(start, size))
