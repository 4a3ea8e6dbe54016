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

MAX_EVENTS = 64  # epoll_wait gets a buffer of that size each time

MAX_CANCELLED = 64

Handler = Callable[[int], None]
Timer = list[Any]  # when, number, function or None, args


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[Timer] = []
        self._cancelled = 0
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

    def later(self, delay_s: float, function: Callable[..., None], *args: Any) -> Timer:
        """Call function(*args) once, in `delay_s` seconds; it must cope with being too late."""
        timer: Timer = [time.monotonic() + delay_s, next(self._numbers), function, args]
        heapq.heappush(self._timers, timer)
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Forget a timer. Time limits are long and most commands short: without this they would pile up."""
        if timer is None or timer[2] is None:
            return
        timer[2] = None
        timer[3] = ()
        self._cancelled += 1
        if self._cancelled > MAX_CANCELLED and self._cancelled > len(self._timers) // 2:
            self._timers = [item for item in self._timers if item[2] is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def run_once(self) -> None:
        for fd, events in self._epoll.poll(self._due(), MAX_EVENTS):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)

    def _due(self) -> float:
        """Run the timers that are due; seconds until the next one, -1 for never."""
        while self._timers:
            left = self._timers[0][0] - time.monotonic()
            if left > 0:
                return float(left)
            timer = heapq.heappop(self._timers)
            function, args = timer[2:]
            timer[2] = None
            if function is None:
                self._cancelled = max(0, self._cancelled - 1)
            else:
                function(*args)
        return -1
