"""The routes. Views only ask and raise; docs/http-api.md describes them for clients."""

from __future__ import annotations

import contextlib
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
from agent_router.commands.dispatch import ID, Dispatcher
from agent_router.commands.judge_process import JudgeError, TookLong, Work
from agent_router.ipc.messages import CancelAnswer, CommandAnswer, Question
from agent_router.ipc.spool import Spooled
from agent_router.ipc.state import NOTICES
from agent_router.schema.jsontext import dumps, parse
from agent_router.schema.problems import RequestError
from agent_router.schema.validation import TakesLong

# Parsing more than this would be noticed by others.
LARGE = 128 << 10
CATALOGUE = 1 << 30  # as which all manifests count for the judge's limit: two minutes, as the machine may be slow
QUERY = "agent.query"  # in a WSGI environment: the query, parsed


def _json(body: bytes | Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = body if isinstance(body, bytes) else dumps(body)
    return Response(text, status, mimetype="application/json", headers=headers)


def _body() -> bytes | Spooled:
    """Of the request; a large one is in a file where our worker collected it."""
    spooled: Spooled | None = request.environ.get("agent.spooled")
    return spooled or request.get_data(cache=False)


def _query() -> query.Query:
    found: query.Query = request.environ[QUERY]
    return found


def _checked(
    agent: Context, work: Work, args: tuple[Any, ...], body: bytes | Spooled, run: Callable[[Call], Response]
) -> Response:
    """Run the call that `work` makes of a request: at once where nobody notices how long that takes."""
    *given, options = args
    size = body.length if isinstance(body, Spooled) else len(body)
    if size <= LARGE:
        with contextlib.suppress(TakesLong):
            return run(work(agent.dispatcher, *given, {**options, "hasty": size + 1}))

    def finish(outcome: Callable[[], Call]) -> Response:
        try:
            return run(outcome())
        except JudgeError as error:
            raise _given_up(
                "Checking the request", "Shorten it, or simplify pattern, anyOf or oneOf in its schema", error
            ) from None

    return Computed(agent.check, work, args, size, finish)


def _given_up(what: str, cure: str, error: JudgeError) -> RequestError:
    if isinstance(error, TookLong):
        return RequestError(422, "check_too_slow", f"{what} {error}. {cure}")
    return RequestError(500, "judge_failed", f"{what} {error}; the agent's log may say more")


def _catalogue(work: Callable[..., bytes], *args: Any) -> Response:
    """What may have to read every manifest first."""

    def finish(outcome: Callable[[], bytes]) -> Response:
        try:
            return _json(outcome())
        except JudgeError as error:
            raise _given_up("Reading the manifests", "Look for one with an unusually large schema", error) from None

    return Computed(context().check, work, args, CATALOGUE, finish)


def _park(agent: Context, message: Question, finish: Callable[[Any, bytes], Response], body: bytes = b"") -> Response:
    id = message.get("id")
    if isinstance(id, str) and not ID.fullmatch(id):  # the runner hangs up on such a message
        raise objects.unknown(id)
    return Parked(agent.ask, message, body, finish)


# ---- commands


def run_command() -> Response:
    agent, asked, body = context(), _query(), _body()
    wait, options = query.flag(asked, "wait"), query.call_options(asked)

    def run(call: Call) -> Response:
        return _run(agent, call, wait, lambda record: _json(record))

    return _checked(agent, objects.call_from_body, (body, options), body, run)


def call_method(name: str) -> Response:
    agent, asked, body = context(), _query(), _body()
    wait, options = query.flag(asked, "wait"), query.call_options(asked)

    def run(call: Call) -> Response:
        return _run(agent, call, wait is not False, lambda record: _method_answer(agent, call.id, record))

    return _checked(agent, objects.call_of, (name, body, options), body, run)


def _run(agent: Context, call: Call, wait: bool | None, shown: Callable[[bytes], Response]) -> Response:
    if wait:
        call.head["wait"] = True
    return _park(agent, call.message(), lambda answer, body: shown(_object(agent, answer, body)), call.body)


def _method_answer(agent: Context, id: str, record: bytes) -> Response:
    """The plugin's response alone, or an error with its status."""
    if len(record) <= LARGE:
        return _json(*_answer_parts(agent.dispatcher, id, record))

    def finish(outcome: Callable[[], tuple[bytes, int, dict[str, str]]]) -> Response:
        try:
            return _json(*outcome())
        except JudgeError as error:
            raise _given_up("Reading the result", f"It is in GET /v1/commands/{id}", error) from None

    return Computed(agent.check, _answer_parts, (id, record), len(record), finish)


def _answer_parts(_: Dispatcher, id: str, record: bytes) -> tuple[bytes, int, dict[str, str]]:
    """Body, status and headers; work for the judge, if it is large."""
    command = parse(record)
    headers = {"X-Command-Id": id}
    if command["command_status"] == "RUNNING":
        return record, 202, {"Location": f"/v1/commands/{id}", **headers}
    error = command["command_error"]
    if error is None:
        return dumps(command["command_result"]), 200, headers
    failed = RequestError(error["code"], error["type"], error["message"])
    return dumps({**failed.as_json(), "command": command}), failed.status, headers


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
        return log if follow else _whole_log(agent, id)

    return _park(agent, {"op": "get", "id": id}, finish)


def _whole_log(agent: Context, id: str) -> Response:
    def finish(outcome: Callable[[], bytes]) -> Response:
        try:
            return Response(outcome(), mimetype="text/plain")
        except JudgeError as error:
            raise _given_up("Masking the secrets in the log", "Ask again with ?follow=true", error) from None

    size = agent.dispatcher.files_size(id)
    return Computed(agent.check, streams.whole_log, (id,), size, finish)


def command_events(id: str) -> Response:
    agent, last_seen = context(), request.headers.get("Last-Event-ID", "")

    def finish(answer: CommandAnswer, body: bytes) -> Followed:
        _object(agent, answer, body)
        return streams.events(agent.dispatcher, agent.ask, id, last_seen)

    return _park(agent, {"op": "get", "id": id}, finish)


# ---- catalogue


def list_methods() -> Response:
    return _catalogue(_methods)


def get_method(name: str) -> Response:
    return _catalogue(_method, name)


def list_steps() -> Response:
    return _catalogue(_steps)


def openapi_document() -> Response:
    return _catalogue(_document, request.url_root)


# Work for the judge.


def _methods(dispatcher: Dispatcher) -> bytes:
    settings = dispatcher.settings
    return dumps(listing.listing(dispatcher.registry, settings.notices, settings.state + NOTICES))


def _method(dispatcher: Dispatcher, name: str) -> bytes:
    return dumps(listing.entry(dispatcher.registry.find(name), full=True))


def _steps(dispatcher: Dispatcher) -> bytes:
    return dumps(steps.catalogue(dispatcher.registry))


def _document(dispatcher: Dispatcher, url: str) -> bytes:
    return dumps(openapi.document(dispatcher.registry, url))


# ---- the agent


def status() -> Response:
    return _json(context().status)


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
CALL = ("wait", "plan", "id", "timeout_s")
# The last column: the names of the query parameters. Any other is refused; agent_token goes everywhere.
ROUTES: tuple[tuple[str, str, Callable[..., Response], tuple[str, ...]], ...] = (
    ("POST", "/commands/", run_command, CALL),
    ("GET", "/commands/", list_commands, ("wait",)),  # without effect: clients send it with all that begins so
    ("GET", "/commands/<id>", get_command, ("wait",)),
    ("DELETE", "/commands/<id>", cancel_command, ("wait",)),
    ("GET", "/commands/<id>/log", command_log, ("follow",)),
    ("GET", "/commands/<id>/events", command_events, ()),
    ("GET", "/methods", list_methods, ()),
    ("GET", "/methods/<name>", get_method, ()),
    ("POST", "/methods/<name>", call_method, CALL),
    ("GET", "/steps", list_steps, ()),
    ("GET", "/status", status, ()),
    ("GET", "/openapi.json", openapi_document, ()),
    ("GET", "/v1/", v1, ()),
    ("GET", "/", root, ()),
)
