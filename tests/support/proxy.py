"""A proxy for http and https (CONNECT), which remembers what it was asked."""

import contextlib
import http.client
import select
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import HANG_S


class Proxy(ThreadingHTTPServer):
    """`asked` are the request lines without the version; `wants` is the Proxy-Authorization it lets through."""

    daemon_threads = True

    def __init__(self, wants: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wants = wants
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _let_in(self) -> bool:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.headers.append(dict(self.headers.items()))
        if self.server.wants in (None, self.headers.get("Proxy-Authorization")):
            return True
        self.send_error(407)
        return False

    def do_GET(self) -> None:
        if not self._let_in():
            return
        parts = urllib.parse.urlsplit(self.path)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=HANG_S)
        own = {key: value for key, value in self.headers.items() if not key.startswith("Proxy-")}
        connection.request("GET", parts.path, headers=own)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(answer.read())

    def do_CONNECT(self) -> None:
        if not self._let_in():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), HANG_S) as far, contextlib.suppress(OSError):
            self.send_response(200)
            self.end_headers()
            other = {far: self.connection, self.connection: far}
            while True:
                for sock in select.select(list(other), [], [], HANG_S)[0]:
                    data = sock.recv(1 << 16)
                    if not data:
                        return
                    other[sock].sendall(data)
