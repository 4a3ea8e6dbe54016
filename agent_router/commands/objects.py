"""Command objects: calls made of request bodies, and what is shown of the runner's answers."""

from __future__ import annotations

import mmap
import os
import re
from typing import Any

from agent_router.commands.calls import Call
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.verdict import short_name
from agent_router.ipc.messages import CancelAnswer, CommandAnswer, HistoryPlace, Listing, Summary
from agent_router.ipc.spool import Spooled
from agent_router.ipc.state import SEPARATOR
from agent_router.schema.annotations import mask_value
from agent_router.schema.jsontext import BadJSON, dumps, parse
from agent_router.schema.problems import Problem, RequestError

LATEST = 256

_NAME = rb'"name"\s*:\s*"[a-z0-9_.]*"\s*'
_BEFORE_PARAMS = re.compile(rb"\s*\{\s*(" + _NAME + rb',\s*)?"params"\s*:\s*')
_AFTER_PARAMS = re.compile(rb"\s*(,\s*" + _NAME + rb")?\}\s*\Z")


def call_from_body(dispatcher: Dispatcher, body: bytes | Spooled, options: dict[str, Any]) -> Call:
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
    if isinstance(body, Spooled):
        body.close()  # its memory is needed for what follows: stdin is written anew
        return dispatcher.prepare(name, params, **options)
    return dispatcher.prepare(name, params, text=params_text(body), **options)


def call_of(dispatcher: Dispatcher, name: str, body: bytes | Spooled, options: dict[str, Any]) -> Call:
    """The prepared call of a POST /v1/methods/NAME body, which may be empty."""
    if isinstance(body, Spooled):
        return dispatcher.prepare(name, parse_body(body), text=body, **options)
    text = body.strip()
    return dispatcher.prepare(name, parse_body(text) if text else {}, text=text or None, **options)


def params_text(body: bytes) -> bytes | None:
    """The text of `params` in a valid body of just name and params; None where it is not found so simply."""
    start = _BEFORE_PARAMS.match(body)
    end = _AFTER_PARAMS.search(body, max(0, len(body) - 400))
    if start is None or end is None or (start[1] is None) == (end[1] is None):
        return None
    return bytes(body[start.end() : end.start()])


def parse_body(body: bytes | Spooled) -> Any:
    try:
        if isinstance(body, Spooled):
            with body.mapped() as text:
                return parse(text)
        return parse(body)
    except BadJSON as error:
        raise RequestError(400, "json_invalid", f"The body is refused: {error}") from None


def from_answer(dispatcher: Dispatcher, answer: CommandAnswer, body: bytes) -> bytes:
    """The command object in the runner's answer to run, record or get; RequestError if there is none."""
    if answer["state"] == "ended":
        return body
    if answer["state"] == "running":
        return running_object(answer, dispatcher.secrets_of(answer["id"]))
    if answer["state"] == "busy":
        why = Problem("$", f"{answer['by']} (command {answer['holder']}) holds a lock that this needs")
        raise RequestError(409, "busy", f"Agent is busy: executing command {short_name(answer['by'])}", [why])
    if answer["state"] == "other":
        raise RequestError(409, "id_taken", f"The id {answer['id']} belongs to a command of another method")
    raise unknown(answer["id"])


def check_cancelled(id: str, answer: CancelAnswer) -> None:
    """RequestError unless the runner ends the command now."""
    if answer["state"] == "refused":
        raise RequestError(409, "not_cancellable", f"Command {id} cannot be cancelled: {answer['message']}")
    if answer["state"] == "ended":
        raise RequestError(409, "already_ended", f"Command {id} has ended already")
    if answer["state"] == "unknown":
        raise unknown(id)


def unknown(id: str) -> RequestError:
    text = f"There is no command {id[:64]!r}; it may have been forgotten"
    return RequestError(404, "command_unknown", text)


def running_object(summary: Summary, hidden: list[str]) -> bytes:
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
    if summary["progress"]:
        shown["progress"] = mask_value(summary["progress"], hidden)
    if summary["warnings"]:
        shown["warnings"] = mask_value(summary["warnings"], hidden)
    if summary["critical"]:
        shown["critical"] = True
    if summary["phase"] != "running":
        shown["phase"] = summary["phase"]
    return dumps(shown)


def listing(dispatcher: Dispatcher, answer: Listing) -> list[bytes | memoryview]:
    """The body of GET /v1/commands/ in parts, for the runner's answer to `list`.

    The history is in order of the ends. Among the latest LATEST and those that run the order is
    that of the starts, so the last one is always the newest.
    """
    text = _history_text(answer["history"])
    at = max(0, len(text) - len(SEPARATOR))
    end_at = at
    for _ in range(LATEST):
        if (at := text.rfind(SEPARATOR, 0, at)) < 0:
            break
    older, newest = memoryview(text)[: max(0, at)], bytes(text[at + len(SEPARATOR) if at >= 0 else 0 : end_at])
    running = [running_object(item, dispatcher.secrets_of(item["id"])) for item in answer["running"]]
    late = [text.encode() for text in answer["history"].get("late", ())]
    latest = sorted([*(newest.split(SEPARATOR) if newest else []), *late, *running], key=_started)
    return [b'{"commands":[', older, SEPARATOR if older and latest else b"", SEPARATOR.join(latest), b"]}"]


def _started(record: Any) -> float:
    at = record.index(b'"started_at":') + 13
    return float(record[at : record.index(b",", at)])


def _history_text(place: HistoryPlace) -> mmap.mmap | bytes:
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
