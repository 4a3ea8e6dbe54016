"""The log and the events of a command: files in the state directory that are sent as they grow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from agent_router.api.later import Ask, Followed
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.lines import LineReader
from agent_router.ipc.state import command_dir
from agent_router.plugin.masking import mask_end, masker
from agent_router.schema.annotations import value_masker


def log(dispatcher: Dispatcher, ask: Ask, id: str) -> Followed:
    """The plugin's stderr as text, secrets masked."""
    base, hidden = command_dir(dispatcher.settings.state, id), dispatcher.secrets_of(id)
    hide = masker(hidden)

    def show(lines: list[bytes]) -> bytes:
        text = b"".join(lines).decode(errors="replace")
        return (hide(text) if text.endswith("\n") else mask_end(text, hidden)).encode()

    return Followed(ask, id, LineReader(base + "/log"), "text/plain; charset=utf-8", show)


def whole_log(dispatcher: Dispatcher, id: str) -> bytes:
    """What there is of it now; work for the judge."""
    text = b"".join(LineReader(command_dir(dispatcher.settings.state, id) + "/log").take(over=True))
    return mask_end(text.decode(errors="replace"), dispatcher.secrets_of(id)).encode()


def events(dispatcher: Dispatcher, ask: Ask, id: str, last_seen: str) -> Followed:
    """Server-sent events after the one numbered `last_seen`; the last one is `end` with the finished command object."""
    base, hide = command_dir(dispatcher.settings.state, id), value_masker(dispatcher.secrets_of(id))
    after = int(last_seen) if re.fullmatch("[0-9]{1,18}", last_seen) else 0

    def show(lines: list[bytes]) -> bytes:
        found = (event for event in map(_event, lines) if event and event["seq"] > after)
        return "".join(_server_sent(event, hide) for event in found).encode()

    def last(record: bytes) -> bytes:
        return b"event: end\ndata: " + (record or b"{}") + b"\n\n"

    reader = LineReader(base + "/stream")
    return Followed(ask, id, reader, "text/event-stream", show, last, keep_alive=b": still here\n\n")


def _event(line: bytes) -> dict[str, Any] | None:
    """A record of the stream; None for what a full disk or a plugin left in its place."""
    try:
        event = json.loads(line)
        return event if isinstance(event["seq"], int) and {"time", "event", "data"} <= set(event) else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _server_sent(event: dict[str, Any], hide: Callable[[Any], Any]) -> str:
    data = event["data"] if isinstance(event["data"], dict) else {}
    text = json.dumps(hide({**data, "time": event["time"]}))
    return f"id: {event['seq']}\nevent: {event['event']}\ndata: {text}\n\n"
