"""The Flask application: every route, one error handler, who is let in."""

from __future__ import annotations

import logging
from typing import Any, cast

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, MapAdapter, Rule

from agent_router import __version__
from agent_router.api import auth, query, views, web_pages
from agent_router.api.context import KEY, Context
from agent_router.api.errors import error_response, failure_response
from agent_router.api.later import KNOWN, Ask, BlockingRunner
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.judge_process import BlockingJudge
from agent_router.config.settings import Settings
from agent_router.schema.jsontext import dumps
from agent_router.schema.problems import RequestError

log = logging.getLogger("agent_router")


class FixedPath(MapAdapter):
    """Matches one rule without variables."""

    def __init__(self, routes: Map, rule: Rule, method: str) -> None:
        super().__init__(routes, "", "/", None, "http", rule.rule, method)
        self._found = rule, dict[str, Any]()

    def match(self, *asked: Any, **more: Any) -> Any:
        """The rule; the question for another method or path (allowed_methods() asks it) is not ours."""
        return super().match(*asked, **more) if asked or "method" in more else self._found


class AgentApp(Flask):
    """A Flask application that does no more than is needed here."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("agent_router", static_folder=None)
        self.url_map.merge_slashes = False  # which would answer with a redirect
        self._token = auth.Token(settings)
        self._fixed: dict[tuple[str, str], FixedPath] = {}
        self.queries: dict[str, tuple[str, ...]] = {}  # endpoint: names of its query parameters

    def admit(self, environ: dict[str, Any], body: bool) -> None:
        """RequestError unless the header of a request opens; `body`: whether one follows. Our worker asks this first.

        What needs no token has no body: nobody without one fills the state directory.
        """
        if environ["PATH_INFO"] in auth.PUBLIC and not body:
            return
        if self._token.now():
            auth.check(self._token.now(), environ["QUERY_STRING"], environ.get("HTTP_AUTHORIZATION", ""))
        else:
            web_pages.refuse(environ)

    def preprocess_request(self) -> None:
        """Nothing else is done before it is clear who asks, and that the query is understood."""
        environ = request.environ
        if KNOWN not in environ:
            self.admit(environ, environ.get("CONTENT_LENGTH", "0") not in ("", "0"))
        if request.url_rule is not None:
            names = self.queries[request.url_rule.endpoint]
            environ[views.QUERY] = query.parsed(environ["QUERY_STRING"], (*names, auth.IN_QUERY))

    # There are no hooks, sessions, coroutines or hosts here. Flask would look for them in every request, which
    # takes as long as everything else that it does for GET /v1/status.

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return None
        known = self._fixed.get((request.method, request.path))
        return known or self.url_map.bind("", path_info=request.path, default_method=request.method)

    def routes_are_complete(self) -> None:
        """From now on, what a path without variables matches is looked up."""
        for rule in self.url_map.iter_rules():
            if not rule.arguments:
                for method in (rule.methods or set()) - {"OPTIONS"}:  # whose answer lists what others match
                    self._fixed[method, rule.rule] = FixedPath(self.url_map, rule, method)

    def ensure_sync(self, func: Any) -> Any:
        return func

    def finalize_request(self, rv: Any, from_error_handler: bool = False) -> Response:
        return cast(Response, rv)

    def do_teardown_request(self, exc: Any = None) -> None:
        pass

    def do_teardown_appcontext(self, exc: Any = None) -> None:
        pass


def create_app(dispatcher: Dispatcher, ask: Ask | None = None) -> AgentApp:
    """The application for the agent of a dispatcher; `ask` is how views reach the runner where no server parks them."""
    app = AgentApp(dispatcher.settings)
    ask = ask or BlockingRunner(dispatcher.settings.state).ask
    status = dumps({"started_at": dispatcher.started_at, "version": __version__})
    app.extensions[KEY] = Context(dispatcher, ask, BlockingJudge(dispatcher).run, status)
    for method, path, view, names in views.ROUTES:
        for rule in (path,) if path in views.ROOTS else (path, "/v1" + path):
            endpoint = f"{view.__name__} {rule}"
            app.queries[endpoint] = names
            app.add_url_rule(rule, endpoint, view, methods=[method], strict_slashes=False)
    app.routes_are_complete()
    app.register_error_handler(RequestError, error_response)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)
    return app


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    code = (error.name or "error").lower().replace(" ", "_")
    answer = error_response(RequestError(status, code, f"{error.description} ({request.method} {request.path})"))
    if allowed := cast(Any, error).__dict__.get("valid_methods"):
        answer.headers["Allow"] = ", ".join(sorted(allowed))
    return answer


def _defect(error: Exception) -> Response:
    log.error("Error handling %s %s", request.method, auth.without_token(request.full_path), exc_info=error)
    return failure_response(error)
