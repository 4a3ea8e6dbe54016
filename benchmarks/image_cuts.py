"""A web server that breaks every connection after some MiB and counts the bytes sent."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

CUT_MIB = 20


class Cutter:
    """`url` of one file, `sent` bytes and `cuts` so far; Range and If-Range are honoured."""

    def __init__(self, path: Path) -> None:
        self.sent = self.cuts = 0
        cutter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size, tag = path.stat().st_size, '"one"'
                span = self.headers.get("Range", "")
                start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
                self.send_response(206 if span else 200)
                if span:
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                self.send_header("Content-Length", str(size - start))
                self.send_header("ETag", tag)
                self.end_headers()
                with path.open("rb") as file:
                    file.seek(start)
                    left = min(size - start, CUT_MIB << 20)
                    cutter.cuts += left < size - start
                    while left and (data := file.read(min(left, 1 << 18))):
                        self.wfile.write(data)
                        left -= len(data)
                        cutter.sent += len(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/{path.name}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
