"""What can be asked about commands, without HTTP: messages to the runner and answers from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from agent_router import __version__
from agent_router.api import auth
from agent_router.core.annotations import mask_value
from agent_router.core.dispatch import Call, Dispatcher
from agent_router.core.jsontext import BadJSON, dumps, parse
from agent_router.core.problems import Problem, RequestError
from agent_router.core.verdict import short_name
from agent_router.runner.history import SEPARATOR
from agent_router.runner.wire import Head

Ask = Callable[[Head, bytes], tuple[Head, bytes]]


def status_body(dispatcher: Dispatcher) -> bytes:
    return dumps({"started_at": dispatcher.started_at, "version": __version__})


def call_from_body(dispatcher: Dispatcher, body: bytes, query: str) -> Call:
    """The prepared call of a POST /v1/commands/ body; RequestError 400 or 404 with every problem."""
    request = parse_body(body)
    problems = []
    if not isinstance(request, dict):
        raise RequestError(400, "request_invalid", 'The body must be an object: {"name": …, "params": {…}}')
    name, params = request.get("name"), request.get("params")
    if not isinstance(name, str):
        problems.append(Problem("$.name", "must be a string, the name of a method"))
    elif "." not in name:
        problems.append(Problem("$.name", f"{name[:100]!r} has no dot; method names look like disk.wipe"))
    if not isinstance(params, dict):
        problems.append(Problem("$.params", "must be an object, the request of the method (it may be empty)"))
    problems += [Problem(f"$.{key}", "is unknown here") for key in request if key not in ("name", "params")]
    if problems:
        raise RequestError(400, "request_invalid", "; ".join(map(str, problems[:3])), problems)
    assert isinstance(name, str)
    return dispatcher.prepare(name, params, **call_options(query))


def call_options(query: str) -> dict[str, Any]:
    """id, plan and timeout_s of the query string as arguments of Dispatcher.prepare."""
    if not query:
        return {}
    options: dict[str, Any] = {"id": auth.value(query, "id")}
    if auth.flag(query, "plan"):
        options["action"] = "plan"
    if text := auth.value(query, "timeout_s"):
        try:
            options["timeout_s"] = float(text)
        except ValueError:
            raise RequestError(400, "timeout_invalid", f"timeout_s is not a number: {text[:40]!r}") from None
    return options


def parse_body(body: bytes) -> Any:
    try:
        return parse(body)
    except BadJSON as error:
        raise RequestError(400, "json_invalid", f"The body is refused: {error}") from None


def answer(dispatcher: Dispatcher, head: Head, body: bytes) -> bytes:
    """The command object in the runner's answer to run or get; RequestError if there is none."""
    state = head["state"]
    if state == "ended":
        return body
    if state == "running":
        return running_object(head, dispatcher.secrets_of(head["id"]))
    if state == "busy":
        why = Problem("$", f"{head['by']} (command {head['holder']}) holds a lock that this needs")
        raise RequestError(409, "busy", f"Agent is busy: executing command {short_name(head['by'])}", [why])
    if state == "other":
        raise RequestError(409, "id_taken", f"The id {head['id']} belongs to a command of another method")
    raise RequestError(404, "command_unknown", f"There is no command {head['id'][:64]!r}; it may have been forgotten")


def running_object(summary: Head, hidden: list[str]) -> bytes:
    """The command object of a command without a verdict."""
    shown: dict[str, Any] = {
        "id": summary["id"],
        "started_at": round(summary["started_at"], 6),
        "command_name": short_name(summary["name"]),
        "command_status": "RUNNING",
        "command_error": None,
        "command_result": None,
        "name": summary["name"],
    }
    for key in ("progress", "warnings"):
        if summary.get(key):
            shown[key] = mask_value(summary[key], hidden)
    if summary.get("critical"):
        shown["critical"] = True
    if summary.get("phase", "running") != "running":
        shown["phase"] = summary["phase"]
    return dumps(shown)


def listing(dispatcher: Dispatcher, ask: Ask) -> bytes:
    """The body of GET /v1/commands/: oldest first by start, so the last one is the newest."""
    for _ in range(3):
        head, _body = ask({"op": "list"}, b"")
        text = _history_text(head["history"])
        if text is not None:
            break
    else:
        text = b""
    running = [running_object(item, dispatcher.secrets_of(item["id"])) for item in head["running"]]
    if head["history"]["sorted_until"] > min((item["started_at"] for item in head["running"]), default=1e99):
        running = sorted([*_lines(text), *running], key=_started)
        text = b""
    elif not head["history"]["sorted"]:
        text = b"".join(line + SEPARATOR for line in sorted(_lines(text), key=_started))
    parts = SEPARATOR.join([text[: -len(SEPARATOR)], *running] if text else running)
    return b'{"commands":[' + parts + b"]}"


def _lines(text: bytes) -> list[bytes]:
    return text.split(SEPARATOR)[:-1]


def _started(record: bytes) -> float:
    at = record.index(b'"started_at":') + 13
    return float(record[at : record.index(b",", at)])


def _history_text(place: dict[str, Any]) -> bytes | None:
    """The records at `place`; None if the file was replaced in between."""
    try:
        with open(place["path"], "rb", 0) as file:
            if os.fstat(file.fileno()).st_ino != place["generation"]:
                return None
            return file.read(place["size"])
    except OSError:
        return b"" if not place["size"] else None
