"""The routes. Views only ask and raise; docs/http-api.md describes them for clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from flask import Response, request

from agent_router import __version__
from agent_router.api import openapi, query, streams
from agent_router.api.context import Context, context
from agent_router.api.later import Computed, Followed, Parked
from agent_router.catalogue import listing, steps
from agent_router.commands import objects
from agent_router.commands.calls import Call
from agent_router.ipc.messages import CancelAnswer, CommandAnswer, Question
from agent_router.ipc.spool import Spooled
from agent_router.ipc.state import NOTICES
from agent_router.schema.jsontext import dumps, parse
from agent_router.schema.problems import RequestError

# Parsing or validating more than this would be noticed by others.
LARGE = 128 << 10


def _json(body: bytes | Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = body if isinstance(body, bytes) else dumps(body)
    return Response(text, status, mimetype="application/json", headers=headers)


def _body() -> bytes | Spooled:
    """Of the request; a large one is in a file where our worker collected it."""
    spooled: Spooled | None = request.environ.get("agent.spooled")
    return spooled or request.get_data(cache=False)


def _query() -> str:
    return str(request.environ.get("QUERY_STRING", ""))


def _sized(body: bytes | Spooled, view: Callable[[], Response]) -> Response:
    size = body.length if isinstance(body, Spooled) else len(body)
    return Computed(view) if size > LARGE else view()


def _park(agent: Context, message: Question, finish: Callable[[Any, bytes], Response], body: bytes = b"") -> Response:
    return Parked(agent.ask, message, body, finish)


# ---- commands


def run_command() -> Response:
    agent, text, body = context(), _query(), _body()
    wait, options = query.flag(text, "wait"), query.call_options(text)

    def view() -> Response:
        call = objects.call_from_body(agent.dispatcher, body, options)
        return _run(agent, call, wait, lambda record: _json(record))

    return _sized(body, view)


def call_method(name: str) -> Response:
    agent, text, body = context(), _query(), _body()
    wait, options = query.flag(text, "wait"), query.call_options(text)

    def view() -> Response:
        call = objects.call_of(agent.dispatcher, name, body, options)
        return _run(agent, call, wait is not False, lambda record: _method_answer(call.id, record))

    return _sized(body, view)


def _run(agent: Context, call: Call, wait: bool | None, shown: Callable[[bytes], Response]) -> Response:
    if wait:
        call.head["wait"] = True
    return _park(agent, call.message(), lambda answer, body: shown(_object(agent, answer, body)), call.body)


def _method_answer(id: str, record: bytes) -> Response:
    """The plugin's response alone, or an error with its status."""
    command = parse(record)
    headers = {"X-Command-Id": id}
    if command["command_status"] == "RUNNING":
        return _json(record, 202, {"Location": f"/v1/commands/{id}", **headers})
    error = command["command_error"]
    if error is None:
        return _json(command["command_result"], headers=headers)
    failed = RequestError(error["code"], error["type"], error["message"])
    return _json({**failed.as_json(), "command": command}, failed.status, headers)


def list_commands() -> Response:
    agent = context()

    def finish(answer: Any, _: bytes) -> Response:
        parts = objects.listing(agent.dispatcher, answer)
        response = Response(cast(Any, parts), mimetype="application/json", direct_passthrough=True)
        response.content_length = sum(map(len, parts))
        return response

    return _park(agent, {"op": "list"}, finish)


def get_command(id: str) -> Response:
    agent, wait = context(), bool(query.flag(_query(), "wait"))
    return _get(agent, id, wait, lambda record: _json(record))


def cancel_command(id: str) -> Response:
    agent, wait = context(), bool(query.flag(_query(), "wait"))

    def finish(answer: CancelAnswer, _: bytes) -> Response:
        objects.check_cancelled(id, answer)
        return _get(agent, id, wait, lambda record: _json(record, 200 if wait else 202))

    return _park(agent, {"op": "cancel", "id": id}, finish)


def _get(agent: Context, id: str, wait: bool, shown: Callable[[bytes], Response]) -> Response:
    return _park(agent, {"op": "get", "id": id, "wait": wait}, lambda answer, body: shown(_object(agent, answer, body)))


def _object(agent: Context, answer: CommandAnswer, body: bytes) -> bytes:
    return objects.from_answer(agent.dispatcher, answer, body)


def command_log(id: str) -> Response:
    agent, follow = context(), query.flag(_query(), "follow")

    def finish(answer: CommandAnswer, body: bytes) -> Response:
        _object(agent, answer, body)
        log = streams.log(agent.dispatcher, agent.ask, id)
        return log if follow else Computed(lambda: Response(log.take(over=True), mimetype=log.mimetype))

    return _park(agent, {"op": "get", "id": id}, finish)


def command_events(id: str) -> Response:
    agent, last_seen = context(), request.headers.get("Last-Event-ID", "")

    def finish(answer: CommandAnswer, body: bytes) -> Followed:
        _object(agent, answer, body)
        return streams.events(agent.dispatcher, agent.ask, id, last_seen)

    return _park(agent, {"op": "get", "id": id}, finish)


# ---- catalogue


def list_methods() -> Response:
    dispatcher = context().dispatcher
    settings = dispatcher.settings
    return Computed(lambda: _json(listing.listing(dispatcher.registry, settings.notices, settings.state + NOTICES)))


def get_method(name: str) -> Response:
    registry = context().dispatcher.registry
    return Computed(lambda: _json(listing.entry(registry.find(name), full=True)))


def list_steps() -> Response:
    registry = context().dispatcher.registry
    return Computed(lambda: _json(steps.catalogue(registry)))


def openapi_document() -> Response:
    registry, url = context().dispatcher.registry, request.url_root
    return Computed(lambda: _json(openapi.document(registry, url)))


# ---- the agent


def status() -> Response:
    return _json({"started_at": context().dispatcher.started_at, "version": __version__})


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


def v1() -> Response:
    base = request.url_root + "v1/"
    names = ("commands/", "status", "methods", "steps")
    links = {name.strip("/"): [{"href": base + name, "rel": "self"}] for name in names}
    media = {"base": "application/json", "type": "application/vnd.openstack.ironic-python-agent.v1+json"}
    return _json({"id": "v1", "links": [{"href": base, "rel": "self"}], "media_types": [media], **links})


# As in IPA, every path but these works with /v1 and without.
ROOTS = ("/", "/v1/")
ROUTES: tuple[tuple[str, str, Callable[..., Response]], ...] = (
    ("POST", "/commands/", run_command),
    ("GET", "/commands/", list_commands),
    ("GET", "/commands/<id>", get_command),
    ("DELETE", "/commands/<id>", cancel_command),
    ("GET", "/commands/<id>/log", command_log),
    ("GET", "/commands/<id>/events", command_events),
    ("GET", "/methods", list_methods),
    ("GET", "/methods/<name>", get_method),
    ("POST", "/methods/<name>", call_method),
    ("GET", "/steps", list_steps),
    ("GET", "/status", status),
    ("GET", "/openapi.json", openapi_document),
    ("GET", "/v1/", v1),
    ("GET", "/", root),
)
