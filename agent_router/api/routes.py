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
    from agent_router.api.asker import Asker

blueprint = Blueprint("v1", __name__)


def _agent() -> Asker:
    return cast("Asker", current_app.agent)  # type: ignore[attr-defined]


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
    return _json(commands.status_body(_agent().agent_dispatcher))


@blueprint.post("/v1/commands/")
def run_command() -> Response:
    agent, query = _agent(), _query()
    call = commands.call_from_body(agent.agent_dispatcher, _body(), query)
    return _json(agent.run(call, auth.flag(query, "wait")))


@blueprint.get("/v1/commands/")
def list_commands() -> Response:
    agent = _agent()
    head, _ = agent.ask({"op": "list"})
    return _json(b"".join(commands.listing(agent.agent_dispatcher, head)))


@blueprint.get("/v1/commands/<id>")
def get_command(id: str) -> Response:
    return _json(_agent().get(id, bool(auth.flag(_query(), "wait"))))


@blueprint.delete("/v1/commands/<id>")
def cancel_command(id: str) -> Response:
    wait = bool(auth.flag(_query(), "wait"))
    return _json(_agent().cancel(id, wait), 200 if wait else 202)


@blueprint.get("/v1/commands/<id>/log")
def command_log(id: str) -> Response:
    text = streams.log(_agent(), id, bool(auth.flag(_query(), "follow")))
    return Response(text, mimetype="text/plain; charset=utf-8", headers={"X-Accel-Buffering": "no"})


@blueprint.get("/v1/commands/<id>/events")
def command_events(id: str) -> Response:
    text = streams.events(_agent(), id, request.headers.get("Last-Event-ID", ""))
    return Response(text, mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


@blueprint.get("/v1/methods")
def list_methods() -> Response:
    return _json(catalogue.listing(_agent().agent_dispatcher))


@blueprint.get("/v1/methods/<name>")
def get_method(name: str) -> Response:
    return _json(catalogue.entry(_agent().agent_dispatcher.registry.find(name), full=True))


@blueprint.post("/v1/methods/<name>")
def call_method(name: str) -> Response:
    agent, query = _agent(), _query()
    body = _body()
    params = commands.parse_body(body) if body.strip() else {}
    call = agent.agent_dispatcher.prepare(name, params, text=body.strip() or None, **commands.call_options(query))
    wait = auth.flag(query, "wait")
    text = agent.run(call, wait is not False)
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
    return _json(steps.catalogue(_agent().agent_dispatcher.registry))


@blueprint.get("/openapi.json")
def openapi_document() -> Response:
    return _json(openapi.document(_agent().agent_dispatcher.registry, request.url_root))
