"""The log and the events of a command: files in the state directory that are sent as they grow."""

from __future__ import annotations

import json
import re

from agent_router.api.later import Ask, Followed
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.lines import LineReader
from agent_router.ipc.state import command_dir
from agent_router.plugin.masking import mask_end
from agent_router.schema.annotations import mask_value


def log(dispatcher: Dispatcher, ask: Ask, id: str) -> Followed:
    """The plugin's stderr as text, secrets masked."""
    base, hidden = command_dir(dispatcher.settings.state, id), dispatcher.secrets_of(id)

    def show(lines: list[bytes]) -> bytes:
        return _masked(lines, hidden)

    return Followed(ask, id, LineReader(base + "/log"), "text/plain; charset=utf-8", show)


def whole_log(dispatcher: Dispatcher, id: str) -> bytes:
    """What there is of it now; work for the judge."""
    reader = LineReader(command_dir(dispatcher.settings.state, id) + "/log")
    return _masked(reader.take(over=True), dispatcher.secrets_of(id))


def _masked(lines: list[bytes], hidden: list[str]) -> bytes:
    """Only the last line may be half a line, which may end within a secret."""
    return mask_end(b"".join(lines).decode(errors="replace"), hidden).encode()


def events(dispatcher: Dispatcher, ask: Ask, id: str, last_seen: str) -> Followed:
    """Server-sent events after the one numbered `last_seen`; the last one is `end` with the finished command object."""
    base, hidden = command_dir(dispatcher.settings.state, id), dispatcher.secrets_of(id)
    after = int(last_seen) if re.fullmatch("[0-9]{1,18}", last_seen) else 0

    def show(lines: list[bytes]) -> bytes:
        found = (event for event in map(json.loads, lines) if event["seq"] > after)
        return "".join(_server_sent(event, hidden) for event in found).encode()

    def last(record: bytes) -> bytes:
        return b"event: end\ndata: " + (record or b"{}") + b"\n\n"

    reader = LineReader(base + "/stream")
    return Followed(ask, id, reader, "text/event-stream", show, last, keep_alive=b": still here\n\n")


def _server_sent(event: dict[str, object], hidden: list[str]) -> str:
    data = event["data"] if isinstance(event["data"], dict) else {}
    text = json.dumps(mask_value({**data, "time": event["time"]}, hidden))
    return f"id: {event['seq']}\nevent: {event['event']}\ndata: {text}\n\n"
