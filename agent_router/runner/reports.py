"""What plugins say while they run: read the events file, keep the vetted stream, limit the rate.

`events` is written by the plugin as it likes; `stream` holds what readers of the API get: one
JSON object a line, numbered, with a time. Bad lines are counted and dropped.
"""

import json
import os
import time
from typing import Any

from agent_router.runner.command import Command

READ_BYTES = 1 << 20
EVENTS_BYTES = 1 << 20
STREAM_BYTES = 1 << 20
RATE_PER_S, BURST = 20.0, 100.0
MAX_LINES, MAX_LINE, MAX_WARNINGS = 200, 16384, 100


def read(command: Command, base: str) -> bool:
    """Take in new event lines; returns whether a critical section ended with them."""
    if command.events < 0:
        return False
    was_critical = command.critical
    data = os.pread(command.events, READ_BYTES, command.events_read)
    end = data.rfind(b"\n") + 1
    if not end and len(data) == READ_BYTES:
        end = len(data)  # one endless line
    command.events_read += end
    lines = data[:end].split(b"\n")[:-1]
    if len(lines) > MAX_LINES:  # a flood: what must not be lost, and the latest
        urgent = [line for line in lines[:-50] if b"critical" in line][-20:]
        command.events_bad += len(lines) - 50 - len(urgent)
        lines = urgent + lines[-50:]
    for line in lines:
        _take(command, base, line)
    if command.events_read > EVENTS_BYTES:  # O_APPEND writers go on at the new end
        os.ftruncate(command.events, 0)
        command.events_read = 0
    return was_critical and not command.critical


def _take(command: Command, base: str, line: bytes) -> None:
    event: Any = None
    if len(line) <= MAX_LINE:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
    if not isinstance(event, dict):
        command.events_bad += 1
        return
    if isinstance(event.get("critical"), bool):
        command.critical = event["critical"]
        say(command, base, "critical", {"critical": command.critical})
    if isinstance(event.get("warn"), str):
        if len(command.warnings) < MAX_WARNINGS:
            command.warnings.append(event["warn"][:2000])
            say(command, base, "warning", {"warn": event["warn"][:2000]})
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
    record = {"seq": command.stream_seq, "time": round(time.time(), 3), "event": kind, "data": data}
    try:
        fd = os.open(base + "/stream", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        if os.fstat(fd).st_size < STREAM_BYTES or kind in ("state", "warning"):
            os.write(fd, json.dumps(record).encode() + b"\n")
    except OSError:
        pass  # a full state directory: progress is not worth a command
    finally:
        os.close(fd)
