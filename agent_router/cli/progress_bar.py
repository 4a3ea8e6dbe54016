"""A progress line at the bottom of the terminal, with log lines above it."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import Any

from agent_router.commands.progress import progress_text

WIDTH = 24
CLEAR = "\r\x1b[K"


class ProgressBar:
    """A context manager; `update` and `line` may be called from different threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text = ""
        self._started = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._write(CLEAR)

    def update(self, command: dict[str, Any]) -> None:
        progress = command.get("progress")
        words = ", ".join(filter(None, (progress_text(progress), command.get("phase"))))
        text = f"{command['name']} {_drawn(progress)}{words}  {time.monotonic() - self._started:.0f} s"
        with self._lock:
            self._text = text[: shutil.get_terminal_size().columns - 1]
            self._write(CLEAR + self._text)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        with self._lock:
            self._write(f"{CLEAR}{text}\n{self._text}")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _drawn(progress: dict[str, Any] | None) -> str:
    total = (progress or {}).get("total")
    if not progress or not isinstance(total, int | float) or total <= 0:
        return ""
    full = int(WIDTH * min(1.0, max(0.0, progress["done"] / total)))
    return f"[{'█' * full}{' ' * (WIDTH - full)}] "
