"""The log and the events of a command, once or live.

Both are files in the state directory; following one is reading on until the command's end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flask import Response

from agent_router.core.annotations import mask
from agent_router.core.problems import RequestError

if TYPE_CHECKING:
    from agent_router.api.app import AgentApp

POLL_S = 0.1
KEEP_ALIVE_S = 15.0
CHUNK = 64 << 10


def log(app: AgentApp, id: str, follow: bool) -> Response:
    """The plugin's stderr as text; with `follow` until the command ends."""
    _known(app, id)
    lines = _lines(app, id, "log", follow)
    return Response(lines, mimetype="text/plain; charset=utf-8", headers={"X-Accel-Buffering": "no"})


def events(app: AgentApp, id: str, last_seen: str) -> Response:
    """Server-sent events; the last one is `end` with the finished command object."""
    _known(app, id)
    after = int(last_seen) if last_seen.isdigit() else 0
    return Response(
        _server_sent(app, id, after), mimetype="text/event-stream", headers={"Cache-Control": "no-store"}
    )


def _known(app: AgentApp, id: str) -> None:
    if app.ask({"op": "get", "id": id})[0]["state"] == "unknown":
        raise RequestError(404, "command_unknown", f"There is no command {id[:64]!r}; it may have been forgotten")


def _ended(app: AgentApp, id: str) -> bytes | None:
    """The finished command object, or None while it runs."""
    head, body = app.ask({"op": "get", "id": id})
    return body if head["state"] == "ended" else b"" if head["state"] == "unknown" else None


def _server_sent(app: AgentApp, id: str, after: int) -> Iterator[str]:
    for line in _lines(app, id, "stream", follow=True):
        if not line.strip():
            yield ": still here\n\n"
            continue
        event = json.loads(line)
        if event["seq"] > after:
            data = json.dumps({**event["data"], "time": event["time"]})
            yield f"id: {event['seq']}\nevent: {event['event']}\ndata: {data}\n\n"
    body = _ended(app, id)
    yield f"event: end\ndata: {(body or b'{}').decode()}\n\n"


def _lines(app: AgentApp, id: str, name: str, follow: bool) -> Iterator[str]:
    """Whole lines of one of the command's files with secrets masked; an empty line now and then to follow."""
    path = f"{app.agent_dispatcher.settings.state}/c/{id}/{name}"
    hidden = app.agent_dispatcher.secrets_of(id)
    position, rest = 0, b""
    quiet = time.monotonic()
    while True:
        over = not follow or _ended(app, id) is not None
        while data := _read(path, position):
            position += len(data)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            quiet = time.monotonic()
            yield "".join(mask(line.decode(errors="replace"), hidden) + "\n" for line in lines) if name == "log" else ""
            if name != "log":
                yield from (mask(line.decode(errors="replace"), hidden) + "\n" for line in lines)
        if over:
            if rest:
                yield mask(rest.decode(errors="replace"), hidden)
            return
        if time.monotonic() - quiet > KEEP_ALIVE_S and name != "log":
            quiet = time.monotonic()
            yield "\n"
        time.sleep(POLL_S)


def _read(path: str, position: int) -> bytes:
    try:
        with open(path, "rb", 0) as file:
            if os.fstat(file.fileno()).st_size <= position:
                return b""
            file.seek(position)
            return file.read(CHUNK)
    except OSError:
        return b""
