"""The log and the events of a command, once or live.

Both are files in the state directory; following one is reading on until the command's end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

from agent_router.api.asker import Asker
from agent_router.core.annotations import mask_value
from agent_router.core.client import Left
from agent_router.core.problems import RequestError
from agent_router.plugin.masking import mask

POLL_S = 0.1
KEEP_ALIVE_S = 15.0
CHUNK = 64 << 10


def log(agent: Asker, id: str, follow: bool) -> Iterator[str]:
    """The plugin's stderr as text; with `follow` until the command ends."""
    _known(agent, id)
    hidden = agent.agent_dispatcher.secrets_of(id)
    return (
        "".join(mask(line.decode(errors="replace"), hidden) for line in lines)
        for lines in _lines(agent, id, "log", follow, agent.left())
    )


def events(agent: Asker, id: str, last_seen: str) -> Iterator[str]:
    """Server-sent events; the last one is `end` with the finished command object."""
    _known(agent, id)
    after = int(last_seen) if last_seen.isdigit() else 0
    return _server_sent(agent, id, after, agent.left())


def _known(agent: Asker, id: str) -> None:
    if agent.ask({"op": "get", "id": id})[0]["state"] == "unknown":
        raise RequestError(404, "command_unknown", f"There is no command {id[:64]!r}; it may have been forgotten")


def _ended(agent: Asker, id: str) -> bytes | None:
    """The finished command object, or None while it runs."""
    head, body = agent.ask({"op": "get", "id": id})
    return body if head["state"] == "ended" else b"" if head["state"] == "unknown" else None


def _server_sent(agent: Asker, id: str, after: int, left: Left | None) -> Iterator[str]:
    hidden = agent.agent_dispatcher.secrets_of(id)
    for lines in _lines(agent, id, "stream", True, left):
        if not lines:
            yield ": still here\n\n"
        for event in map(json.loads, lines):
            if event["seq"] > after:
                data = json.dumps(mask_value({**event["data"], "time": event["time"]}, hidden))
                yield f"id: {event['seq']}\nevent: {event['event']}\ndata: {data}\n\n"
    body = _ended(agent, id)
    yield f"event: end\ndata: {(body or b'{}').decode()}\n\n"


def _lines(agent: Asker, id: str, name: str, follow: bool, left: Left | None) -> Iterator[list[bytes]]:
    """Whole lines of one of the command's files as they come; now and then none, if there is nothing new.

    It ends with the command, or when the client has left.
    """
    path = f"{agent.agent_dispatcher.settings.state}/c/{id}/{name}"
    position, rest = 0, b""
    quiet = time.monotonic()
    while True:
        over = not follow or _ended(agent, id) is not None
        while data := _read(path, position):
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            quiet = time.monotonic()
            if lines:
                yield [line + b"\n" for line in lines]
        if over:
            if rest:
                yield [rest]
            return
        if left is not None and left():
            return
        if time.monotonic() - quiet > KEEP_ALIVE_S:
            quiet = time.monotonic()
            yield []
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
