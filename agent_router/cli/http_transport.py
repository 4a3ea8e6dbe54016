"""An agent reached by its URL. Loaded only when needed: importing http.client takes a third of the start-up time."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from agent_router.cli.transport import Unreachable, decode, with_query
from agent_router.schema.jsontext import dumps

TIMEOUT_S = 3600.0


class HttpTransport:
    """An agent at a URL."""

    def __init__(self, url: str, token: str = "", cacert: str = "", verify: bool = True) -> None:
        self._url = urlsplit(url if "//" in url else f"http://{url}")
        if self._url.scheme not in ("http", "https") or not self._url.hostname or not _good_port(self._url):
            raise Unreachable(f"{url!r} is not a URL such as https://10.0.0.5:9999")
        self._token = token
        self._context = _tls(cacert, verify) if self._url.scheme == "https" else None

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The decoded answer; RequestError for an HTTP error, with the agent's own message."""
        with contextlib.closing(self._open(method, path, body, query)) as connection:
            try:
                response = connection.getresponse()
                raw = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{self._where()} closed the connection: {error}") from None
        return decode(response.status, raw)

    def lines(self, path: str, follow: bool) -> Iterator[str]:
        """Lines of a streamed answer as they arrive."""
        with contextlib.closing(self._open("GET", path, None, {"follow": follow})) as connection:
            try:
                response = connection.getresponse()
                while response.status == 200 and (line := response.readline()):
                    yield line.decode(errors="replace").rstrip("\n")
            except (OSError, http.client.HTTPException):
                return

    def _open(self, method: str, path: str, body: Any, query: dict[str, Any]) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(host, port or 443, timeout=TIMEOUT_S, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, port or 80, timeout=TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection.request(method, with_query(path, query), None if body is None else dumps(body), headers)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            cause = f"the certificate of {self._where()} is not trusted ({error.verify_message})"
            raise Unreachable(f"{cause}; use --cacert or --no-verify") from None
        except (OSError, socket.gaierror) as error:
            connection.close()
            raise Unreachable(f"no agent answers at {self._where()}: {error.strerror or error}") from None
        return connection

    def _where(self) -> str:
        return f"{self._url.scheme}://{self._url.netloc}"


def _good_port(url: SplitResult) -> bool:
    try:
        return url.port != 0
    except ValueError:
        return False


def _tls(cacert: str, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=cacert or None)
    except OSError as error:
        raise Unreachable(f"--cacert {cacert}: {error.strerror or 'not a PEM file'}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
