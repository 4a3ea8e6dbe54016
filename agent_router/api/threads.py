"""Threads for what takes long enough to be noticed: never more than a few, the rest waits in line."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from agent_router.ipc.loop import Loop

MOST = 4
STACK_BYTES = 512 << 10
T = TypeVar("T")


class Threads:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._busy = 0
        self._line: deque[Callable[[], None]] = deque()
        threading.stack_size(STACK_BYTES)

    def run(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Call work() in a thread, then done(its result) in the loop. `work` must not raise."""

        def both() -> None:
            result = work()
            self._loop.call(self._ended, lambda: done(result))

        self._line.append(both)
        self._start()

    def _start(self) -> None:
        while self._line and self._busy < MOST:
            self._busy += 1
            threading.Thread(target=self._line.popleft(), daemon=True).start()

    def _ended(self, done: Callable[[], None]) -> None:
        self._busy -= 1
        self._start()
        done()
