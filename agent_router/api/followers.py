"""Files of running commands that are sent as they grow: inotify tells of each write, no thread waits."""

from __future__ import annotations

import os
from collections.abc import Callable

from agent_router.api.later import Followed
from agent_router.ipc.loop import Loop
from agent_router.linux import libc

KEEP_ALIVE_S = 15.0
LOOK_S = 1.0  # where the kernel has no inotify watch left

# (data, whether it is the last); what follows is taken when all of it is sent.
Send = Callable[[bytes, bool], None]


class Follower:
    """One client's place in a file."""

    def __init__(self, followed: Followed, send: Send) -> None:
        self.followed = followed
        self.quiet = 0  # seconds since something was sent
        self._send = send
        self._sending = True  # the header is sent first
        self._record: bytes | None = None
        self._over = False

    def go_on(self) -> None:
        """Everything was sent; is there more?"""
        self._sending = False
        self.look()

    def look(self) -> None:
        if self._sending or self._over:
            return
        over = self._record is not None
        data = self.followed.take()
        if data:
            self._begin(data, False)
        elif over:
            self._over = True
            self._begin(self.followed.take(over=True) + self.followed.last(self._record or b""), True)

    def end(self, record: bytes) -> None:
        """The command has ended: what is in its file now is all."""
        self._record = record
        self.look()

    def tick(self) -> None:
        """To be called once a second."""
        self.quiet += 1
        if self.quiet > KEEP_ALIVE_S and self.followed.keep_alive and not self._sending and not self._over:
            self._begin(self.followed.keep_alive, False)

    def _begin(self, data: bytes, last: bool) -> None:
        self.quiet = 0
        self._sending = True
        self._send(data, last)


class Followers:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._inotify = libc.Inotify()
        self._by_watch: dict[int, set[Follower]] = {}
        self._watches: dict[Follower, int] = {}
        self._ticking = False
        loop.watch(self._inotify.fd, self._written)

    def add(self, followed: Followed, send: Send) -> Follower:
        follower = Follower(followed, send)
        watch = self._inotify.add(os.path.dirname(followed.lines.path))
        self._watches[follower] = watch
        self._by_watch.setdefault(watch, set()).add(follower)
        if not self._ticking:
            self._ticking = True
            self._loop.later(LOOK_S, self._tick)
        return follower

    def remove(self, follower: Follower) -> None:
        watch = self._watches.pop(follower)
        self._by_watch[watch].discard(follower)
        if not self._by_watch[watch]:
            del self._by_watch[watch]
            if watch >= 0:
                self._inotify.remove(watch)

    def _written(self, _: int) -> None:
        for watch in self._inotify.read():
            for follower in tuple(self._by_watch.get(watch, ())):
                follower.look()

    def _tick(self) -> None:
        for follower in tuple(self._watches):
            follower.tick()
        for follower in tuple(self._by_watch.get(-1, ())):
            follower.look()
        self._ticking = bool(self._watches)
        if self._ticking:
            self._loop.later(LOOK_S, self._tick)
