"""WSGI without copies: the environment of a request, and the parts of a response."""

from __future__ import annotations

import io
import sys
from typing import Any

from gunicorn import http as gunicorn_http
from gunicorn.http.errors import ParseException
from gunicorn.util import unquote_to_wsgi_str

from agent_router.api.later import KNOWN, Later
from agent_router.api.request_buffer import RequestBuffer

Environ = dict[str, Any]


class ParserSettings:
    """gunicorn's settings as its parser reads them, looked up once: it asks for some twenty in each request."""

    def __init__(self, config: Any) -> None:
        vars(self).update({name: setting.get() for name, setting in config.settings.items()})
        self.is_ssl = bool(config.is_ssl)

    def forwarded_allow_networks(self) -> list[Any]:
        return []

    def proxy_allow_networks(self) -> list[Any]:
        return []


# What a response has to know of a request that could not be read.
NO_REQUEST: Environ = {"REQUEST_METHOD": "GET"}


class BadRequest(Exception):
    """str() says what is wrong with the HTTP of a request."""


def environ(header: bytes, peer: Any, server: Any, settings: ParserSettings) -> Environ:
    """The WSGI environment of a header, which gunicorn's parser reads; `add_body` completes it."""
    try:
        parsed = next(gunicorn_http.get_parser(settings, iter([header]), peer))
        parsed._expected_100_continue = False
    except (ParseException, StopIteration, OSError, ValueError) as error:
        raise BadRequest(f"Not an HTTP request: {error}") from None
    made: Environ = {
        "REQUEST_METHOD": parsed.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_wsgi_str(parsed.path),
        "QUERY_STRING": parsed.query or "",
        "RAW_URI": parsed.uri,
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": peer[0] if isinstance(peer, tuple) else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if settings.is_ssl else "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        KNOWN: True,
    }
    for name, value in parsed.headers:
        key = f"HTTP_{name.replace('-', '_')}"
        if key == "HTTP_CONTENT_TYPE":
            made["CONTENT_TYPE"] = value
        elif key == "HTTP_HOST" and key in made:  # RFC 9112, 3.2
            raise BadRequest("Not an HTTP request: the header Host is given twice")
        elif key != "HTTP_CONTENT_LENGTH":
            made[key] = f"{made[key]},{value}" if key in made else value
    return made


def add_body(made: Environ, request: RequestBuffer) -> None:
    made["CONTENT_LENGTH"] = str(request.length)
    made["wsgi.input"] = io.BytesIO(b"" if request.spooled else request.body)
    if request.spooled is not None:
        made["agent.spooled"] = request.spooled


def response(application: Any, environ: Environ) -> tuple[str, list[tuple[str, str]], Any]:
    """(status line, headers, body in parts), or an object of later.py in the place of the body."""
    found: list[Any] = ["", []]

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        found[:] = status, headers

    result = application(environ, start_response)
    if isinstance(result, Later):
        return "", [], result
    try:
        return found[0], found[1], [part for part in result if part]
    finally:
        if hasattr(result, "close"):
            result.close()


def head(status: str, headers: Any) -> bytes:
    """The head of an answer that ends its connection."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Cache-Control: no-store", "Connection: close", "\r\n"]).encode("latin-1", "replace")
