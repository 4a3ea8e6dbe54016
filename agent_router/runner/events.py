"""What plugins say while they run: read the events file, keep the vetted stream, limit the rate.

`events` is written by the plugin as it likes; `stream` holds what readers of the API get: one
JSON object a line, numbered, with a time. Bad lines are counted and dropped.
"""

import contextlib
import json
import os
import sys
import time
from typing import Any

from agent_router.linux import libc
from agent_router.plugin.masking import mask_end
from agent_router.runner import files
from agent_router.runner.command import Command

READ_BYTES = 1 << 20
KEPT_BYTES = 1 << 20
STREAM_BYTES = 1 << 20
PARTS, ALL_PARTS = 32, 1 << 12
RATE_PER_S, BURST = 20.0, 100.0
MAX_LINES, MAX_LINE, MAX_WARNINGS, MAX_WARNING = 200, 16384, 100, 2000
MAX_DEPTH, MAX_NUMBER = 64, sys.float_info.max  # as in a request
LATEST, MAX_CRITICAL = 50, 20


def read(command: Command, base: str, last: bool = False) -> bool:
    """Take in new event lines, with `last` all of them; returns whether a critical section ended with them."""
    if command.events < 0:
        return False
    was_critical = command.critical
    for _ in range(ALL_PARTS if last else PARTS):
        if not _read_part(command, base):
            break
    return was_critical and not command.critical


def _read_part(command: Command, base: str) -> bool:
    """Take in one part of the file; whether there may be another."""
    start = command.events_read
    data = os.pread(command.events, READ_BYTES, start)
    length = data.rfind(b"\n") + 1
    if not length and len(data) == READ_BYTES:
        length = len(data)  # one endless line
    lines, passed_over = _pick(data[:length], MAX_WARNINGS - len(command.warnings))
    command.events_bad += passed_over
    for end, line in lines:
        command.events_read = start + end
        _take(command, base, line)
    command.events_read = start + length
    if length and command.events_read > KEPT_BYTES:  # give the memory back; writers append to the same file
        libc.punch_hole(command.events, command.events_read)
    return len(data) == READ_BYTES


def _pick(data: bytes, warnings: int) -> tuple[list[tuple[int, bytes]], int]:
    """(end, line) of each line worth a look, and how many were passed over: of a flood only what
    must not be lost and the latest, found without splitting it all."""
    count = data.count(b"\n")
    if count <= MAX_LINES:
        end, found = 0, []
        for line in data.split(b"\n")[:-1]:
            end += len(line) + 1
            found.append((end, line))
        return found, 0
    picked: dict[int, bytes] = {}

    def pick(at: int) -> tuple[int, int]:
        start, end = data.rfind(b"\n", 0, at) + 1, data.index(b"\n", at) + 1
        picked[end] = data[start : end - 1]
        return start, end

    at = 0
    while len(picked) < warnings and (at := data.find(b'"warn"', at)) >= 0:
        at = pick(at)[1]
    at = len(data)
    for _ in range(LATEST):
        at = pick(at - 1)[0]
    at = len(data)
    for _ in range(MAX_CRITICAL):
        if (at := data.rfind(b'"critical"', 0, at)) < 0:
            break
        at = pick(at)[0]
    return sorted(picked.items()), count - len(picked)


def resume(command: Command, base: str) -> None:
    """After a restart of the runner: go on where the stream of the command ends, and tell nothing twice.

    `ending` is set again too, if the command was being stopped, and `phase` if it was in its cleanup.
    """
    try:
        with open(base + "/stream", "rb") as file:
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return
    for line in lines:
        record = json.loads(line)
        data = record["data"]
        command.stream_seq, command.events_read = record["seq"], record["at"]
        if record["event"] == "critical":
            command.critical = data["critical"]
        elif record["event"] == "warning":
            command.warnings.append(data["warn"])
        elif record["event"] == "progress":
            command.progress = data
        elif record["event"] == "state":
            command.ending = data["reason"]
            command.phase = "cleanup" if data["state"] == "cleanup" else "running"
    with contextlib.suppress(OSError):  # no data behind that place: all of it was read
        command.events_read = os.lseek(command.events, command.events_read, os.SEEK_DATA)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The event in a line; None if there is none."""
    if len(line) > MAX_LINE:
        return None
    try:
        event = json.loads(line)
        # What the front could not write as JSON: NaN, Infinity, half of a surrogate pair.
        json.dumps(event, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and _is_bounded(event, MAX_DEPTH) else None


def _is_bounded(value: Any, depth: int) -> bool:
    """Whether whoever shows the value or calculates with it can do so."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_bounded(item, depth - 1) for item in items)
    return not isinstance(value, int) or abs(value) <= MAX_NUMBER


def _warning(text: str, base: str) -> str:
    """At most MAX_WARNING characters of it. Its end may hold half a secret, if the plugin's helper has cut it."""
    if len(text.encode()) < MAX_WARNING:
        return text
    return mask_end(text, files.secrets(base))[:MAX_WARNING]


def _take(command: Command, base: str, line: bytes) -> None:
    event = _parse(line)
    if event is None:
        command.events_bad += 1
        return
    if isinstance(event.get("critical"), bool) and command.critical != event["critical"]:
        command.critical = event["critical"]
        say(command, base, "critical", {"critical": command.critical})
    if isinstance(event.get("warn"), str):
        if len(command.warnings) < MAX_WARNINGS:
            command.warnings.append(_warning(event["warn"], base))
            say(command, base, "warning", {"warn": command.warnings[-1]})
    elif isinstance(event.get("done"), int | float) and not isinstance(event["done"], bool):
        command.progress = event
        if _within_rate(command):
            say(command, base, "progress", event)
    elif "critical" not in event and _within_rate(command):
        say(command, base, "other", event)


def _within_rate(command: Command) -> bool:
    now = time.monotonic()
    refill = (now - command.events_refilled) * RATE_PER_S
    command.events_tokens = min(BURST, command.events_tokens + refill)
    command.events_refilled = now
    if command.events_tokens < 1:
        return False
    command.events_tokens -= 1
    return True


def say(command: Command, base: str, kind: str, data: dict[str, Any]) -> None:
    """Append one event to the stream that clients follow; silently stops at its size limit."""
    command.stream_seq += 1
    record = {
        "seq": command.stream_seq,
        "time": round(time.time(), 3),
        "event": kind,
        "data": data,
        "at": command.events_read,  # for resume
    }
    try:
        fd = os.open(base + "/stream", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        limit = STREAM_BYTES * (1 if kind in ("progress", "other") else 2)
        if os.fstat(fd).st_size < limit:
            os.write(fd, json.dumps(record).encode() + b"\n")
    except OSError:
        pass  # a full state directory: progress is not worth a command
    finally:
        os.close(fd)
