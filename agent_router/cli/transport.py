"""How the command line reaches an agent: over HTTP (http_transport.py), or in this process with a private runner.

Both answer the same paths, so everything above them is written once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from agent_router.schema.jsontext import dumps, parse
from agent_router.schema.problems import Problem, RequestError

if TYPE_CHECKING:
    from agent_router.config.settings import Settings

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Unreachable(Exception):
    """No agent answers; str() says where it should be and what to do."""


class Transport(Protocol):
    """An agent."""

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The decoded answer; RequestError for an error, with the agent's own message."""

    def lines(self, path: str, follow: bool) -> Iterator[str]:
        """Lines of a command's log; with `follow`, as they arrive, until the command ends."""


class LocalTransport:
    """This machine without a server: the server's routes, called in this process."""

    def __init__(self, settings: Settings) -> None:
        from agent_router.api.app import create_app
        from agent_router.commands.local import LocalAgent
        from agent_router.conductor.bridge import translate

        self._local = LocalAgent(settings, translate)
        self._client = create_app(self._local.dispatcher).test_client()

    def __enter__(self) -> LocalTransport:
        # No other process looks after the command, so any signal that ends this one cancels it, as Ctrl-C does.
        for number in END_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        self._local.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        for number in END_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # only clean-up is left
        self._local.__exit__(*details)

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        if "/commands/" in path:
            self._local.start()
        data = None if body is None else dumps(body)
        answer = self._client.open(with_query(path, query), method=method, data=data)
        return decode(answer.status_code, answer.data)

    def lines(self, path: str, follow: bool) -> Iterator[str]:
        answer = self._client.get(with_query(path, {"follow": follow}), buffered=False)
        rest = ""
        for chunk in answer.iter_encoded() if answer.status_code == 200 else ():
            *whole, rest = (rest + chunk.decode()).split("\n")
            yield from whole
        if rest:
            yield rest


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
        raise Unreachable(f"the answer did not come from an agent: HTTP status {status} {words}".strip())
    if status < 400:
        return body
    problems = [Problem(item["path"], item["message"]) for item in body.get("problems", ())]
    raise RequestError(status, body.get("code", "error"), body["faultstring"], problems)
