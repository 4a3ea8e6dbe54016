"""A web server with bad habits, to fetch images from."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ImageServer(ThreadingHTTPServer):
    """Serves `body`; the attributes are its habits, `requests` the headers it was sent."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
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
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/disk.raw"

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
        if habits.on_request:
            habits.on_request(habits)
        if habits.redirect:
            self._head(302, {"Location": habits.redirect, "Content-Length": "0"})
            return
        if habits.statuses:
            self._head(habits.statuses.pop(0), {"Content-Length": "0"})
            return
        self._send_from(self._start())

    def _start(self) -> int:
        wanted = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, self.server.etag)
        return int(wanted[6:-1]) if wanted and self.server.ranges and fresh else 0

    def _send_from(self, start: int) -> None:
        habits = self.server
        total = habits.announce or len(habits.body)
        headers = {"Content-Length": str(total - start)}
        if habits.chunked:
            headers = {"Transfer-Encoding": "chunked"}
        if habits.etag:
            headers["ETag"] = habits.etag
        if habits.encoding:
            headers["Content-Encoding"] = habits.encoding
        if start and start >= len(habits.body):
            self._head(416, {"Content-Length": "0"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        self._head(206 if start else 200, headers)
        self._send(habits.body[start:][: habits.cut_after])

    def _send(self, data: bytes) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            for at in range(0, len(data), 1 << 16):
                piece = data[at : at + (1 << 16)]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.server.chunked else piece)
                sent += len(piece)
                time.sleep(self.server.pause_s)
                if self.server.silent_after is not None and sent >= self.server.silent_after:
                    time.sleep(20)
            if self.server.chunked and self.server.cut_after is None:
                self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
