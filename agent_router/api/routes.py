"""The routes. Views only ask and raise; docs/http-api.md describes them for clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flask import Blueprint, Response, current_app, request

from agent_router import __version__
from agent_router.api import auth, catalogue, commands, openapi, streams
from agent_router.core import steps
from agent_router.core.jsontext import dumps, parse
from agent_router.core.problems import RequestError

if TYPE_CHECKING:
    from agent_router.api.app import AgentApp

blueprint = Blueprint("v1", __name__)

def _app() -> AgentApp:
    return cast("AgentApp", current_app._get_current_object())  # type: ignore[attr-defined]


def _json(body: bytes | Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = body if isinstance(body, bytes) else dumps(body)
    given = {"Cache-Control": "no-store", **(headers or {})}
    return Response(text, status, mimetype="application/json", headers=given)


def _body() -> bytes:
    """Of the request, as the worker collected it, or from any other WSGI server."""
    body: bytes | None = request.environ.get("agent.body")
    return request.get_data(cache=False) if body is None else body


def _query() -> str:
    return request.query_string.decode(errors="replace")


@blueprint.get("/")
def root() -> Response:
    version = {"id": "v1", "links": [{"href": request.url_root + "v1/", "rel": "self"}]}
    return _json(
        {
            "name": "agent-router",
            "description": "Pluggable agent of the utility ramdisk, with the command API of ironic-python-agent",
            "version": __version__,
            "versions": [version],
            "default_version": version,
        }
    )


@blueprint.get("/v1/", strict_slashes=False)
def v1() -> Response:
    base = request.url_root + "v1/"
    names = ("commands/", "status", "methods", "steps")
    links = {name.strip("/"): [{"href": base + name, "rel": "self"}] for name in names}
    media = {"base": "application/json", "type": "application/vnd.openstack.ironic-python-agent.v1+json"}
    return _json({"id": "v1", "links": [{"href": base, "rel": "self"}], "media_types": [media], **links})


@blueprint.get("/v1/status")
def status() -> Response:
    return _json(commands.status_body(_app().agent_dispatcher))


@blueprint.post("/v1/commands/")
def run_command() -> Response:
    app, query = _app(), _query()
    call = commands.call_from_body(app.agent_dispatcher, _body(), query)
    return _json(app.run_call(call, auth.flag(query, "wait")))


@blueprint.get("/v1/commands/")
def list_commands() -> Response:
    app = _app()
    head, _ = app.ask({"op": "list"})
    return _json(b"".join(commands.listing(app.agent_dispatcher, head)))


@blueprint.get("/v1/commands/<id>")
def get_command(id: str) -> Response:
    app = _app()
    head, body = app.ask({"op": "get", "id": id, "wait": bool(auth.flag(_query(), "wait"))})
    return _json(commands.answer(app.agent_dispatcher, head, body))


@blueprint.delete("/v1/commands/<id>")
def cancel_command(id: str) -> Response:
    app = _app()
    head, _ = app.ask({"op": "cancel", "id": id})
    if head["state"] == "refused":
        raise RequestError(409, "not_cancellable", f"Command {id} cannot be cancelled: {head['message']}")
    if head["state"] == "ended":
        raise RequestError(409, "already_ended", f"Command {id} has ended already")
    wait = bool(auth.flag(_query(), "wait"))
    head, body = app.ask({"op": "get", "id": id, "wait": wait})
    return _json(commands.answer(app.agent_dispatcher, head, body), 200 if wait else 202)


@blueprint.get("/v1/commands/<id>/log")
def command_log(id: str) -> Response:
    return streams.log(_app(), id, bool(auth.flag(_query(), "follow")))


@blueprint.get("/v1/commands/<id>/events")
def command_events(id: str) -> Response:
    return streams.events(_app(), id, request.headers.get("Last-Event-ID", ""))


@blueprint.get("/v1/methods")
def list_methods() -> Response:
    return _json(catalogue.listing(_app().agent_dispatcher))


@blueprint.get("/v1/methods/<name>")
def get_method(name: str) -> Response:
    return _json(catalogue.entry(_app().agent_dispatcher.registry.find(name), full=True))


@blueprint.post("/v1/methods/<name>")
def call_method(name: str) -> Response:
    app, query = _app(), _query()
    body = _body()
    params = commands.parse_body(body) if body.strip() else {}
    call = app.agent_dispatcher.prepare(name, params, text=body.strip() or None, **commands.call_options(query))
    wait = auth.flag(query, "wait")
    text = app.run_call(call, wait is not False)
    command = parse(text)
    headers = {"X-Command-Id": call.id}
    if command["command_status"] == "RUNNING":
        return _json(text, 202, {"Location": f"/v1/commands/{call.id}", **headers})
    error = command["command_error"]
    if error is None:
        return _json(command["command_result"], headers=headers)
    failed = RequestError(error["code"], error["type"], error["message"])
    problem = {**failed.as_json(), "command": command}
    return _json(problem, failed.status, headers)


@blueprint.get("/v1/steps")
def list_steps() -> Response:
    return _json(steps.catalogue(_app().agent_dispatcher.registry))


@blueprint.get("/openapi.json")
def openapi_document() -> Response:
    return _json(openapi.document(_app().agent_dispatcher.registry, request.url_root))
