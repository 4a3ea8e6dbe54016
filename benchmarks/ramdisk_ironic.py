"""The part of Ironic's API that an agent needs to start: discovery, lookup, heartbeat. On a free port of 127.0.0.1."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# The agent depends on the API version: from 1.68 on, it generates its own TLS certificate.
VERSION = "1.94"
NODE = "11111111-2222-3333-4444-555555555555"
ROOT = {
    "name": "OpenStack Ironic API",
    "default_version": {"id": "v1", "version": VERSION, "min_version": "1.1", "status": "CURRENT"},
    "versions": [{"id": "v1", "version": VERSION, "min_version": "1.1", "status": "CURRENT"}],
}
LOOKUP = {
    "node": {"uuid": NODE, "properties": {}, "instance_info": {}, "driver_internal_info": {}},
    "config": {
        "heartbeat_timeout": 300, "metrics": {}, "metrics_statsd": {},
        "agent_token": "token-for-a-benchmark-only", "agent_token_required": True,
    },
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, LOOKUP if self.path.startswith("/v1/lookup") else ROOT)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(202, {})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def serve() -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
