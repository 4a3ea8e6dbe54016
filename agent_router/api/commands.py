"""What can be asked about commands, without HTTP: messages to the runner and answers from it."""

from __future__ import annotations

import mmap
import os
import re
from typing import Any

from agent_router import __version__
from agent_router.api import auth
from agent_router.core.annotations import mask_value
from agent_router.core.calls import Call
from agent_router.core.dispatch import Dispatcher
from agent_router.core.jsontext import BadJSON, dumps, parse
from agent_router.core.problems import Problem, RequestError
from agent_router.core.verdict import short_name
from agent_router.runner.history import SEPARATOR
from agent_router.runner.wire import Body, Head

LATEST = 256

_NAME = rb'"name"\s*:\s*"[a-z0-9_.]*"\s*'
_BEFORE_PARAMS = re.compile(rb"\s*\{\s*(" + _NAME + rb',\s*)?"params"\s*:\s*')
_AFTER_PARAMS = re.compile(rb"\s*(,\s*" + _NAME + rb")?\}\s*\Z")


def status_body(dispatcher: Dispatcher) -> bytes:
    return dumps({"started_at": dispatcher.started_at, "version": __version__})


def call_from_body(dispatcher: Dispatcher, body: Body, query: str) -> Call:
    """The prepared call of a POST /v1/commands/ body; RequestError 400 or 404 with every problem."""
    request = parse_body(body)
    if isinstance(body, bytearray):  # a huge one: its memory is needed for what follows, so it is written anew
        body.clear()
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
    return dispatcher.prepare(name, params, text=params_text(body), **call_options(query))


def params_text(body: Body) -> bytes | None:
    """The text of `params` in a valid body of just name and params; None where it is not found so simply."""
    start = _BEFORE_PARAMS.match(body)
    end = _AFTER_PARAMS.search(body, max(0, len(body) - 400))
    if start is None or end is None or (start[1] is None) == (end[1] is None):
        return None
    return bytes(body[start.end() : end.start()])


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


def parse_body(body: Body) -> Any:
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
        "command_name": short_name(summary["shown"]["name"] if "shown" in summary else summary["name"]),
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


def listing(dispatcher: Dispatcher, head: Head) -> list[bytes | memoryview]:
    """The body of GET /v1/commands/ in parts, for an answer of the runner to `list`.

    The history is in order of the ends. Among the latest LATEST and those that run the order is
    that of the starts, so the last one is always the newest.
    """
    text = _history_text(head["history"])
    at = max(0, len(text) - len(SEPARATOR))
    end_at = at
    for _ in range(LATEST):
        if (at := text.rfind(SEPARATOR, 0, at)) < 0:
            break
    older, newest = memoryview(text)[: max(0, at)], bytes(text[at + len(SEPARATOR) if at >= 0 else 0 : end_at])
    running = [running_object(item, dispatcher.secrets_of(item["id"])) for item in head["running"]]
    late = [text.encode() for text in head["history"].get("late", ())]
    latest = sorted([*(newest.split(SEPARATOR) if newest else []), *late, *running], key=_started)
    return [b'{"commands":[', older, SEPARATOR if older and latest else b"", SEPARATOR.join(latest), b"]}"]


def _started(record: Any) -> float:
    at = record.index(b'"started_at":') + 13
    return float(record[at : record.index(b",", at)])


def _history_text(place: dict[str, Any]) -> mmap.mmap | bytes:
    """The records at `place`. A file that was replaced meanwhile has the same latest ones: it is taken instead.

    Mapped, not read: ten thousand records go to the client without a copy in this process. The
    file only grows, or is replaced whole.
    """
    try:
        with open(place["path"], "rb", 0) as file:
            info = os.fstat(file.fileno())
            same = info.st_ino == place["generation"]
            size = place["size"] if same else info.st_size
            text = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) if size else b""
    except OSError:
        return b""
    return text if same else text[: text.rfind(SEPARATOR) + len(SEPARATOR)]
