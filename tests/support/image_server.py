"""A web server with bad habits, to fetch images from."""

import contextlib
import email.utils
import re
import socket
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import HANG_S


class ImageServer(ThreadingHTTPServer):
    """Serves `body`; the attributes are its habits, `requests` the headers it was sent."""

    daemon_threads = True

    def __init__(self, body: bytes, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host = f"[{host}]" if ":" in host else host
        self.scheme = "https" if context else "http"
        self.context = context
        super().__init__((host, 0), _Handler)
        self.body = body
        self.requests: list[dict[str, str]] = []
        self.etag: str | None = '"one"'
        self.ranges = True
        self.cut_after: int | None = None  # bytes per connection
        self.announce: int | None = None  # a Content-Length that is not true
        self.chunked = False
        self.statuses: list[int] = []  # answers of the first requests
        self.redirect: str | None = None
        self.encoding: str | None = None
        self.pause_s = 0.0  # after each 64 KiB
        self.silent_after: int | None = None
        self.on_request: Any = None
        self.paths: list[str] = []  # what was asked for
        self.connections = 0
        self.redirects: dict[str, str] = {}  # path: Location
        self.closes = False  # the end of the connection is the end of the body, of which no length is told
        self.keep = False  # the connection, after an answer
        self.dislikes_if_range = False  # gives the whole to who sends it, whatever it says
        self.parts = True  # Content-Range; without it a 206 says nothing
        self.part_limit: int | None = None  # bytes in one 206, whatever was asked for
        self.shift = 0  # a 206 begins so many bytes too late
        self.status: int | None = None  # instead of 200 or 206
        self.total: int | None = None  # in Content-Range, instead of the size
        self.part_length: int | None = None  # a Content-Length of a 206 that is not true
        self.modified_s_ago: int | None = None  # Last-Modified
        self.extra: dict[str, str] = {}  # headers of the answer
        self.drip: tuple[int, float] | None = None  # bytes, and the pause after them
        self.started = time.time()
        self.go_on = threading.Event()  # ends the silence
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.server_address[1]}/disk.raw"

    def ranges_asked(self) -> list[str | None]:
        return [request.get("Range") for request in self.requests]

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        self.connections += 1
        if self.context is None:
            return sock, address
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    def server_bind(self) -> None:
        """Without a look for the name of the address, for which there is nobody to ask."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def server_close(self) -> None:
        self.go_on.set()
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that goes away in the middle is the point of some tests


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        habits = self.server
        habits.requests.append(dict(self.headers.items()))
        habits.paths.append(self.path)
        if habits.on_request:
            habits.on_request(habits)
        if target := habits.redirects.get(self.path, habits.redirect):
            self._head(302, {"Location": target, "Content-Length": "0"})
        elif habits.statuses:
            self._head(habits.statuses.pop(0), {"Content-Length": "0", **habits.extra})
        else:
            self._send_range(*self._range())

    def _range(self) -> tuple[int | None, int]:
        """(start, end) of the part that was asked for and is given, the end excluded; start None for the whole."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        fresh = self.headers.get("If-Range") in (None, self.server.etag, self._modified())
        size = len(self.server.body)
        if self.server.dislikes_if_range and "If-Range" in self.headers:
            fresh = False
        if asked is None or not self.server.ranges or not fresh:
            return None, size
        start = int(asked[1])
        end = min(int(asked[2]) + 1 if asked[2] else size, size)
        return start, min(end, start + (self.server.part_limit or size))

    def _modified(self) -> str | None:
        ago = self.server.modified_s_ago
        return None if ago is None else email.utils.formatdate(self.server.started - ago, usegmt=True)

    def _send_range(self, start: int | None, end: int) -> None:
        habits, size = self.server, len(self.server.body)
        if start is not None and start >= size:
            self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{size}"})
            return
        total = habits.announce or habits.total or size
        first = start or 0
        length = (habits.part_length if start is not None else None) or end - first
        if habits.announce and end == size:
            length = habits.announce - first
        headers = {"Content-Length": str(length), **habits.extra}
        if habits.chunked:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        if habits.closes:
            del headers["Content-Length"]
            headers["Connection"] = "close"
        told = {"ETag": habits.etag, "Content-Encoding": habits.encoding, "Last-Modified": self._modified()}
        headers |= {key: value for key, value in told.items() if value}
        if start is not None and habits.parts:
            last = habits.announce - 1 if habits.announce and end == size else end - 1
            headers["Content-Range"] = f"bytes {start + habits.shift}-{last + habits.shift}/{total}"
        self._head(habits.status or (200 if start is None else 206), headers)
        self._send(habits.body[first:end][: habits.cut_after])

    def _send(self, data: bytes) -> None:
        habits, sent = self.server, 0
        size, pause_s = habits.drip or (1 << 16, habits.pause_s)
        with contextlib.suppress(OSError):
            for at in range(0, len(data), size):
                piece = data[at : at + size]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if habits.chunked else piece)
                sent += len(piece)
                time.sleep(pause_s)  # the pace that a test asked for
                if habits.silent_after is not None and sent >= habits.silent_after:
                    habits.go_on.wait(HANG_S)
            if habits.chunked and habits.cut_after is None:
                self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not habits.keep or habits.cut_after is not None

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()


def read_all(source: Any, size: int = 1 << 16) -> bytes:
    """Everything that a source gives, closed in the end."""
    found, buffer = bytearray(), memoryview(bytearray(size))
    try:
        source.open()
        while count := source.readinto(buffer):
            found += buffer[:count]
    finally:
        source.close()
    return bytes(found)
