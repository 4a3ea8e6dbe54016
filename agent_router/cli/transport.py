"""How the command line reaches an agent: over HTTP, or in this very process with a private runner.

Both answer the same paths, so everything above is written once.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlencode, urlsplit

from agent_router.core.jsontext import dumps, parse
from agent_router.core.problems import Problem, RequestError

if TYPE_CHECKING:
    from agent_router.core.settings import Settings

TIMEOUT_S = 3600.0


class Unreachable(Exception):
    """There is no agent to talk to; str() says where it was looked for and what helps."""


class Http:
    """An agent somewhere, by URL."""

    def __init__(self, url: str, token: str = "", cacert: str = "", verify: bool = True) -> None:
        self._url = urlsplit(url if "//" in url else f"http://{url}")
        if self._url.scheme not in ("http", "https") or not self._url.hostname or not _good_port(self._url):
            raise Unreachable(f"{url!r} is not a URL such as https://10.0.0.5:9999")
        self._token = token
        self._context = _tls(cacert, verify) if self._url.scheme == "https" else None

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The decoded answer; RequestError for an HTTP error with the agent's own words."""
        with contextlib.closing(self._open(method, path, body, query)) as connection:
            try:
                response = connection.getresponse()
                raw = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{self._where()} broke the connection: {error}") from None
        return decode(response.status, raw)

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """Lines of a streamed answer as they come."""
        with contextlib.closing(self._open("GET", path, None, query)) as connection:
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
            raise Unreachable(f"{cause}; give --cacert or --no-verify") from None
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


class Local:
    """This machine without a server: the same application, called in this process."""

    def __init__(self, settings: Settings) -> None:
        from agent_router.api.app import create_app
        from agent_router.conductor.bridge import translate
        from agent_router.core.local import LocalAgent

        self._agent = LocalAgent(settings, translate)
        self._client = create_app(self._agent.dispatcher).test_client()

    def __enter__(self) -> Local:
        # Nobody but this process looks after the command, so whatever ends us cancels it, as Ctrl-C does.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
        self._agent.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._agent.__exit__(*details)

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        data = None if body is None else dumps(body)
        response = self._client.open(with_query(path, query), method=method, data=data)
        return decode(response.status_code, response.data)

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        response = self._client.open(with_query(path, query), method="GET", buffered=False)
        rest = ""
        for chunk in response.iter_encoded():
            *whole, rest = (rest + chunk.decode(errors="replace")).split("\n")
            yield from whole
        if rest:
            yield rest


Transport = Http | Local


def with_query(path: str, query: dict[str, Any]) -> str:
    given = {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in query.items()
        if value is not None and value is not False
    }
    return f"{path}?{urlencode(given)}" if given else path


def decode(status: int, raw: bytes) -> Any:
    try:
        body = parse(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict) or (status >= 400 and "faultstring" not in body):
        words = raw[:200].decode(errors="replace").strip()
        raise Unreachable(f"the answer is not that of an agent: HTTP status {status} {words}".strip())
    if status < 400:
        return body
    problems = [Problem(item["path"], item["message"]) for item in body.get("problems", ())]
    raise RequestError(status, body.get("code", "error"), body["faultstring"], problems)


def default_url() -> str:
    return os.environ.get("AGENT_ROUTER_URL", "")
