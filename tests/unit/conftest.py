"""Fixtures of the unit tests: ironic_api, an HTTP server that answers as Ironic was seen to; other_api, which is a
second one; running, which starts the heartbeat process; web servers; mounted file systems.
"""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.deployment import serve  # noqa: F401
from tests.support.heartbeat import BEAT, LOOKUP, NODE, TOKEN, Running, node
from tests.support.mounts import loop_file_system, mounted_tmpfs  # noqa: F401

ROOT = {"name": "OpenStack Ironic API", "default_version": {"id": "v1", "min_version": "1.1", "version": "1.115"}}


@dataclass
class Asked:
    method: str
    path: str
    version: str | None
    request_id: str | None
    body: Any


@dataclass
class IronicAPI:
    """`answers` are (status, body) by "METHOD /path": a list is used up to its last entry, which stays."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)

    def at(self, method: str) -> list[Asked]:
        """The requests but those for the root, which tells the version."""
        return [one for one in self.asked if one.method == method and one.path != "/"]

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        queue = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}", [(404, fault("not found"))])
        status, body = queue.pop(0) if len(queue) > 1 else queue[0]
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()


def fault(sentence: str) -> dict[str, str]:
    """An error of Ironic: JSON in JSON."""
    return {"error_message": json.dumps({"faultcode": "Client", "faultstring": sentence, "debuginfo": None})}


@contextlib.contextmanager
def serving() -> Iterator[IronicAPI]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            version, request_id = (
                self.headers.get(f"X-OpenStack-{name}") for name in ("Ironic-API-Version", "Request-ID")
            )
            asked = Asked(self.command, self.path, version, request_id, json.loads(raw) if raw else None)
            status, body = api.answer(asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if 300 <= status < 400:
                self.send_header("Location", body.decode())
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = IronicAPI(f"http://127.0.0.1:{server.server_port}")
    api.answers["GET /"] = [(200, ROOT)]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ironic_api() -> Iterator[IronicAPI]:
    with serving() as api:
        yield api


@pytest.fixture
def other_api() -> Iterator[IronicAPI]:
    with serving() as api:
        yield api


@pytest.fixture
def running(ironic_api, tmp_path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []
    ironic_api.answers[LOOKUP] = [node(TOKEN), node("******")]
    ironic_api.answers[BEAT] = [(202, b"")]

    def start(constants: dict[str, object] | None = None, **given: str) -> Running:
        known = {"ipa-api-url": ironic_api.url, "agent.node": NODE, "ipa-advertise-host": "192.0.2.7"}
        made.append(
            Running(
                tmp_path, {**known, **{key.replace("_", "-"): text for key, text in given.items()}}, **constants or {}
            )
        )
        return made[-1]

    yield start
    for one in made:
        one.kill()
