"""What a running plugin reports: progress, warnings and critical sections on the event stream.

Events are JSON lines in the file that AGENT_EVENTS names (protocol: docs/plugin-protocol.md). Without that variable (a
plugin started by hand) they are dropped; the log still goes to stderr.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

PROGRESS_INTERVAL_S = 0.1
MAX_WARNING = 2000  # characters; a longer line of events would be dropped

_LEVELS = {"error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}
_last_progress = 0.0
_critical = 0
_critical_lock = threading.Lock()


def _send(event: dict[str, Any]) -> None:
    if not os.environ.get("AGENT_EVENTS"):
        return
    # By protocol the stream is file descriptor 3. A line written by one write(2) to an O_APPEND file is never
    # interleaved with another.
    with contextlib.suppress(OSError):
        os.write(3, json.dumps(event).encode() + b"\n")


def progress(done: float, total: float | None = None, unit: str = "", message: str = "") -> None:
    """Report progress; at most ten reports a second are sent, but always the last one (done == total)."""
    global _last_progress
    now = time.monotonic()
    if done != total and now - _last_progress < PROGRESS_INTERVAL_S:
        return
    _last_progress = now
    event: dict[str, Any] = {"done": done}
    if total is not None:
        event["total"] = total
    if unit:
        event["unit"] = unit
    if message:
        event["message"] = message
    _send(event)


def warn(text: str) -> None:
    """Warn the caller of something that went worse than requested; kept with the result."""
    _send({"warn": text[:MAX_WARNING]})


@contextlib.contextmanager
def critical() -> Iterator[None]:
    """While inside, the agent neither cancels this plugin nor enforces its time limit.

    Sections of several threads may overlap: the last one out ends it.
    """
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(step: int) -> None:
    global _critical
    with _critical_lock:
        _critical += step
        if _critical == max(step, 0):  # the first in, or the last out
            _send({"critical": step > 0})


def log(text: str, level: str = "info") -> None:
    """Write lines to the log (stderr); level is error, warning, notice, info or debug."""
    mark = f"<{_LEVELS[level]}>"
    for line in text.splitlines() or [""]:
        print(f"{mark}{line}", file=sys.stderr, flush=True)
