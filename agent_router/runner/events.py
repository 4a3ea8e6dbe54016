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

from agent_router.ipc.state import open_file
from agent_router.linux import files as linux_files
from agent_router.linux import libc
from agent_router.plugin.masking import mask_end
from agent_router.runner import files
from agent_router.runner.command import Command

READ_BYTES = 1 << 20
KEPT_BYTES = 1 << 20
STREAM_BYTES = 1 << 20
PARTS, ALL_BYTES = 32, 64 << 20
TAIL_BYTES = 32
EMPTIED = 'some events are lost: they were opened anew with >, which empties them; write to >&3 or >>"$AGENT_EVENTS"'
RATE_PER_S, BURST = 20.0, 100.0
MAX_LINES, MAX_LINE, MAX_WARNINGS, MAX_WARNING = 200, 16384, 100, 2000
MAX_DEPTH, MAX_NUMBER = 64, sys.float_info.max  # as in a request
LATEST, MAX_CRITICAL = 50, 20


def read(command: Command, base: str, last: bool = False) -> bool:
    """Take in new event lines, with `last` all of them; returns whether a critical section ended with them."""
    if command.events < 0:
        return False
    was_critical, parts = command.critical, PARTS
    size = os.fstat(command.events).st_size
    if last and size - command.events_read > ALL_BYTES:
        command.events_read, command.events_tail = size - ALL_BYTES, b""
        command.events_bad += 1
    while _read_part(command, base) and (last or (parts := parts - 1)):
        continue
    return was_critical and not command.critical


def before_emptied(command: Command) -> None:
    """The plugin is about to open its events anew, and to empty them by that; they have been read."""
    os.ftruncate(command.events, 0)
    command.events_read, command.events_tail = 0, b""


def _start(command: Command) -> int:
    """Where to go on reading: not in a hole, and at the beginning of a file that was emptied."""
    size, start, tail = os.fstat(command.events).st_size, command.events_read, command.events_tail
    if size < start or os.pread(command.events, len(tail), start - len(tail)) != tail:
        command.events_tail, start = b"", 0
        if EMPTIED not in command.warnings:
            command.warnings.append(EMPTIED)
    if size - start > READ_BYTES:
        try:
            data = os.lseek(command.events, start, os.SEEK_DATA)
        except OSError:  # only a hole, up to the end
            data = size
        if data != start:
            command.events_tail, start = b"", data
    return start


def _read_part(command: Command, base: str) -> bool:
    """Take in one part of the file; whether there may be another."""
    start = _start(command)
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
    command.events_tail = data[max(0, length - TAIL_BYTES) : length] or command.events_tail
    if length and command.events_read > KEPT_BYTES:  # give the memory back; writers append to the same file
        libc.punch_hole(command.events, command.events_read - TAIL_BYTES)
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


def resume(command: Command, base: str) -> int:
    """After a restart of the runner: go on where the stream of the command ends, and tell nothing twice.

    `ending` is set again too, if the command was being stopped, and `phase` if it was in its cleanup. Returns how
    many records could not be read; they are dropped.
    """
    try:
        with open(open_file(base + "/stream"), "rb") as file:
            text = file.read(3 * STREAM_BYTES)
    except OSError:
        return 0
    lines = text.split(b"\n")
    good = [line for line in lines[:-1] if _take_up(command, line)]
    if len(good) + 1 < len(lines) or lines[-1]:
        with contextlib.suppress(OSError):
            linux_files.replace(base + "/stream", b"".join(line + b"\n" for line in good))
    if command.events >= 0:  # one that has ended says nothing more
        _find_place(command)
    return len(lines) - 1 - len(good)


def _find_place(command: Command) -> None:
    """Where to read on in the events file."""
    if os.fstat(command.events).st_size < command.events_read:
        command.events_read = 0  # it was emptied
    with contextlib.suppress(OSError):  # no data behind that place: all of it was read
        command.events_read = os.lseek(command.events, command.events_read, os.SEEK_DATA)


def _take_up(command: Command, line: bytes) -> bool:
    """Whether this is a record of `say`; then the command is as it was when that was said."""
    try:
        record = json.loads(line)
        seq, at, data, _ = int(record["seq"]), int(record["at"]), record["data"], float(record["time"])
        if record["event"] == "critical":
            command.critical = bool(data["critical"])
        elif record["event"] == "warning":
            command.warnings.append(str(data["warn"]))
        elif record["event"] == "progress":
            command.progress = dict(data)
        elif record["event"] == "state":
            command.ending = str(data["reason"])
            command.phase = "cleanup" if data["state"] == "cleanup" else "running"
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return False
    command.stream_seq, command.events_read = seq, max(0, at)
    return True


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
        fd = open_file(base + "/stream", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        return
    try:
        limit = STREAM_BYTES * (1 if kind in ("progress", "other") else 2)
        size, line = os.fstat(fd).st_size, json.dumps(record).encode() + b"\n"
        if size < limit and os.write(fd, line) != len(line):
            os.ftruncate(fd, size)  # half a record would spoil the next one too
    except OSError:
        pass  # a full state directory: progress is not worth a command
    finally:
        os.close(fd)
