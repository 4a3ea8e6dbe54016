"""WSGI without copies: the environment of a request, and the parts of a response."""

from __future__ import annotations

import io
import sys
from typing import Any

from gunicorn import http as gunicorn_http
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException

from agent_router.api.later import KNOWN, Later
from agent_router.api.request_buffer import RequestBuffer

Environ = dict[str, Any]


# What a response has to know of a request that could not be read.
NO_REQUEST: Environ = {"REQUEST_METHOD": "GET"}


class BadRequest(Exception):
    """str() says what is wrong with the HTTP of a request."""


def environ(request: RequestBuffer, peer: Any, server: Any, config: Any) -> Environ:
    """The WSGI environment; gunicorn's parser reads the header, the body is in the buffer."""
    try:
        parsed = next(gunicorn_http.get_parser(config, iter([request.header]), peer))
        parsed._expected_100_continue = False
        made: Environ = wsgi.create(parsed, None, peer, server, config)[1]
    except (ParseException, StopIteration, OSError, ValueError) as error:
        raise BadRequest(f"Not an HTTP request: {error}") from None
    made["CONTENT_LENGTH"] = str(request.length)
    made["wsgi.input"] = io.BytesIO(b"" if request.spooled else request.body)
    made["wsgi.input_terminated"] = True
    made["wsgi.errors"] = sys.stderr
    made[KNOWN] = True
    if request.spooled is not None:
        made["agent.spooled"] = request.spooled
    return made


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
