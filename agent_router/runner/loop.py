"""An event loop of one thread: descriptors, timers, nothing else.

A descriptor may be closed and its number reused inside one batch of events, so a handler can
be called for an event meant for an earlier owner: every handler must be non-blocking.
"""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Any

Handler = Callable[[int], None]


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def watch(self, fd: int, handler: Handler, events: int = select.EPOLLIN) -> None:
        """Call handler(events) when `fd` is ready."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; to be called before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, delay_s: float, function: Callable[..., None], *args: Any) -> None:
        """Call function(*args) once, in `delay_s` seconds; it must cope with being too late."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._numbers), function, args))

    def run_once(self) -> None:
        for fd, events in self._epoll.poll(self._due()):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)

    def _due(self) -> float:
        """Run the timers that are due; seconds until the next one, -1 for never."""
        while self._timers:
            left = self._timers[0][0] - time.monotonic()
            if left > 0:
                return left
            _, _, function, args = heapq.heappop(self._timers)
            function(*args)
        return -1
