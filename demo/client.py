"""A small HTTP client that shows requests and responses to a reader of the demo."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any


class Client:
    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded response of one request."""
        connection = self._open(method, path, body)
        try:
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def call(self, name: str, params: dict[str, Any], query: str = "wait=true") -> dict[str, Any]:
        """Run a method; returns the command object, or the error body if refused."""
        return self.ask("POST", f"/v1/commands/?{query}", {"name": name, "params": params})[1]

    def events(self, id: str, after: int = 0) -> Iterator[tuple[str, Any]]:
        """The server-sent events of a command after number `after`: (kind, data with its number as `seq`)."""
        connection = self._open("GET", f"/v1/commands/{id}/events", None, {"Last-Event-ID": str(after)})
        try:
            response = connection.getresponse()
            kind, seq = "", 0
            while line := response.readline().decode():
                if line.startswith("event: "):
                    kind = line[7:].strip()
                elif line.startswith("id: "):
                    seq = int(line[4:])
                elif line.startswith("data: "):
                    yield kind, {"seq": seq, **json.loads(line[6:])}
        finally:
            connection.close()

    def wait_until_up(self, timeout_s: float = 20) -> None:
        give_up = time.monotonic() + timeout_s
        while True:
            try:
                self.ask("GET", "/v1/status")
                return
            except (OSError, http.client.HTTPException):
                if time.monotonic() > give_up:
                    raise SystemExit("demo: the agent does not respond") from None
                time.sleep(0.05)

    def _open(
        self, method: str, path: str, body: Any, more: dict[str, str] | None = None
    ) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Authorization": f"Bearer {self._token}", **(more or {})})
        return connection
