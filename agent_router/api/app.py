"""The Flask application: every route, one error handler, the token check."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, current_app, has_request_context, request
from werkzeug.exceptions import HTTPException

from agent_router.api import auth, routes
from agent_router.api.asker import Asker
from agent_router.core.client import Left
from agent_router.core.dispatch import Dispatcher
from agent_router.core.jsontext import dumps
from agent_router.core.problems import RequestError

log = logging.getLogger("agent_router")


class AgentAsker(Asker):
    def left(self) -> Left | None:
        return request.environ.get("agent.left") if has_request_context() else None


class AgentApp(Flask):
    """A Flask application for the agent of a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__("agent_router", static_folder=None)
        self.agent = AgentAsker(dispatcher)
        self.agent_token = auth.Token(dispatcher.settings)

    def wsgi_app(self, environ: Any, start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if path.startswith(("/commands", "/status")):  # as IPA, the paths work without /v1 too
            environ["PATH_INFO"] = "/v1" + path
        return super().wsgi_app(environ, start_response)


def create_app(dispatcher: Dispatcher) -> AgentApp:
    app = AgentApp(dispatcher)
    app.before_request(_check_token)
    app.register_blueprint(routes.blueprint)
    app.register_error_handler(RequestError, _request_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)
    return app


def _check_token() -> None:
    query = request.query_string.decode(errors="replace")
    current_app.agent_token.check(request.path, query, request.headers.get("Authorization", ""))  # type: ignore[attr-defined]


def _request_error(error: RequestError) -> Response:
    return Response(dumps(error.as_json()), error.status, mimetype="application/json")


def _http_error(error: HTTPException) -> Response:
    if error.response is not None or (error.code or 500) < 400:  # a redirect to the path with a slash
        return error.get_response()  # type: ignore[return-value]
    status = error.code or 500
    code = (error.name or "error").lower().replace(" ", "_")
    text = f"{error.description} ({request.method} {request.path})"
    return _request_error(RequestError(status, code, text))


def _defect(error: Exception) -> Response:
    path = auth.without_token(request.full_path)
    log.error("Error handling %s %s", request.method, path, exc_info=error)
    return _request_error(RequestError(500, "agent_defect", f"The agent failed: {type(error).__name__}: {error}"))
