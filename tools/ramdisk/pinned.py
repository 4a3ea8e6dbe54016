"""HTTPS to an agent whose certificate is known only by its fingerprint.

The fingerprint comes from a trusted channel, e.g. the machine's serial console. It is compared before the first byte of
a request, and thus the token, is sent.
"""

import contextlib
import hashlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

CONNECT_S = 20.0  # including the TLS handshake, which takes seconds on a busy emulated guest
END_S = 600.0
POLL_S = 0.2


class ApiError(Exception):
    """A response with status 400 or above, in `status` and `body`."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {json.dumps(body)[:2000]}")
        self.status, self.body = status, body


class CommandFailed(Exception):
    """A command ended as FAILED; `command` is its object."""

    def __init__(self, command: dict[str, Any]) -> None:
        error = command["command_error"]
        super().__init__(f"{command['name']}: {error['type']}: {error['details']}")
        self.command, self.error = command, error


class WrongCertificate(Exception):
    """The server is not the expected one."""


class _Connection(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, fingerprint: str, timeout_s: float) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # connect() checks instead
        super().__init__(host, port, timeout=CONNECT_S, context=context)
        self._fingerprint, self._timeout_s = fingerprint.replace(":", "").lower(), timeout_s

    def connect(self) -> None:
        super().connect()
        shown = hashlib.sha256(self.sock.getpeercert(binary_form=True)).hexdigest()
        if shown != self._fingerprint:
            self.close()
            raise WrongCertificate(f"{self.host}:{self.port} shows certificate {shown}, not {self._fingerprint}")
        self.sock.settimeout(self._timeout_s)


@dataclass(frozen=True)
class Api:
    """docs/http-api.md, as methods."""

    host: str
    port: int
    fingerprint: str
    token: str

    def request(self, verb: str, path: str, body: Any = None, timeout_s: float = 60, **query: Any) -> Any:
        """The decoded JSON response; ApiError if the status is 400 or above."""
        connection = _Connection(self.host, self.port, self.fingerprint, timeout_s)
        with contextlib.closing(connection):
            target = path + (f"?{urlencode(query)}" if query else "")
            headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            data = None
            if body is not None:
                data = json.dumps(body).encode()
                headers["Content-Type"] = "application/json"
            connection.request(verb, target, data, headers)
            answer = connection.getresponse()
            raw = answer.read()
        document = json.loads(raw) if "json" in (answer.getheader("Content-Type") or "") else raw.decode()
        if answer.status >= 400:
            raise ApiError(answer.status, document)
        return document

    def get(self, path: str, **query: Any) -> Any:
        return self.request("GET", path, **query)

    def start(self, name: str, params: dict[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        """Start a command and return its object, RUNNING."""
        body = {"name": name, "params": params or {}}
        command: dict[str, Any] = self.request("POST", "/v1/commands/", body, wait="false", **query)
        return command

    def ended(self, command_id: str, timeout_s: float = END_S) -> dict[str, Any]:
        """The command object once it has ended; waits for an agent that is temporarily unreachable."""
        for command in self.watched(command_id, timeout_s):
            if command["command_status"] != "RUNNING":
                return command
        raise AssertionError("unreachable")

    def watched(self, command_id: str, timeout_s: float = END_S) -> Iterator[dict[str, Any]]:
        """Poll its object; TimeoutError after `timeout_s`."""
        end = time.monotonic() + timeout_s
        last: object = None
        while time.monotonic() < end:
            try:
                last = self.get(f"/v1/commands/{command_id}", timeout_s=10)
                yield last
            except (OSError, http.client.HTTPException) as error:
                last = error
            except ApiError as error:
                if error.status != 503:
                    raise
                last = error
            time.sleep(POLL_S)
        raise TimeoutError(f"command {command_id} did not end within {timeout_s:g} s; last seen: {last}")

    def run(self, name: str, params: dict[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        """Run a command to its end and return its object, whatever the outcome."""
        return self.ended(self.start(name, params, **query)["id"])

    def call(self, name: str, **params: Any) -> dict[str, Any]:
        """The response of a successful command; otherwise CommandFailed."""
        command = self.run(name, params)
        if command["command_status"] != "SUCCEEDED":
            raise CommandFailed(command)
        response: dict[str, Any] = command["command_result"]
        return response
