"""A web server for images, which the guest reaches; one that can hold an answer back in the middle."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import machine

PIECE = 1 << 20


class ImageHost(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.images: dict[str, bytes] = {}
        self.gates: dict[str, Gate] = {}
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def offer(self, name: str, image: bytes) -> str:
        """The URL of an image, as the guest sees it."""
        self.images[name] = image
        return f"http://{machine.HOST}:{self.server_address[1]}/{name}"

    @contextlib.contextmanager
    def held(self, name: str, at: int) -> "Iterator[Gate]":
        """Nothing beyond byte `at` of that image is sent until the gate is opened; it is at the end of the block."""
        gate = self.gates[name] = Gate(at)
        try:
            yield gate
        finally:
            del self.gates[name]
            gate.opened.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that is killed in the middle is the point of some tests


class Gate:
    def __init__(self, at: int) -> None:
        self.at = at
        self.reached, self.opened = threading.Event(), threading.Event()

    def wait_reached(self) -> None:
        assert self.reached.wait(120), f"the guest did not ask for the first {self.at} bytes"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageHost

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        image = self.server.images.get(name)
        if image is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(image) - start))
        self.send_header("ETag", f'"{name}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(image) - 1}/{len(image)}")
        self.end_headers()
        for at in range(start, len(image), PIECE):
            gate = self.server.gates.get(name)
            if gate is not None and at + PIECE > gate.at:
                gate.reached.set()
                gate.opened.wait()
            self.wfile.write(image[at : at + PIECE])
