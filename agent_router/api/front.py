"""The part of the front that waits for the runner: one connection, many parked requests, all verdicts.

A request that waits for a plugin costs no thread: it is parked here until the runner's answer
or the end of its command. Every ended command comes here for its verdict.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from agent_router.api import commands, http
from agent_router.core import closing
from agent_router.core.dispatch import Dispatcher
from agent_router.core.jsontext import dumps
from agent_router.core.problems import RequestError
from agent_router.runner import strays
from agent_router.runner.links import Link
from agent_router.runner.loop import Loop
from agent_router.runner.wire import Body, Head

RECONNECT_S = 0.02
# After the last command: until its answer is with the client; and how long one that is under way may delay that.
LINGER_S, LINGER_MOST_S = 1.0, 10.0
LOOP_BYTES = 128 << 10  # judging more than this would be noticed by others: a thread does it

Reply = Callable[[int, http.Body], None]


class Parked:
    """One request that waits; `reply(status, body)` answers it."""

    __slots__ = ("head", "body", "reply")

    def __init__(self, head: Head, body: bytes, reply: Reply) -> None:
        self.head = head
        self.body = body
        self.reply = reply


class Front:
    def __init__(self, loop: Loop, dispatcher: Dispatcher) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._path = dispatcher.settings.state + "/runner.sock"
        self._link: Link | None = None
        self._numbers = itertools.count(1)
        self._parked: dict[int, Parked] = {}
        self._waiting: dict[str, set[int]] = {}
        self._ended_path = dispatcher.settings.state + "/ended.sock"
        self._teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._end_at = 0.0
        self._connect()
        if closing.closed(dispatcher.settings.state):  # a front before this one was killed in between
            dispatcher.closed = True
            self._end_soon()

    def ask(self, head: Head, body: bytes, reply: Reply) -> int:
        """Park a request; returns its number for `forget`."""
        number = next(self._numbers)
        head["n"] = number
        self._parked[number] = Parked(head, body, reply)
        if head.get("wait"):
            self._waiting.setdefault(head["id"], set()).add(number)
        if self._link is not None:
            self._link.send(head, body)
        return number

    def forget(self, number: int) -> None:
        """The client of a parked request went away; its command goes on."""
        self._take(number)

    @property
    def busy(self) -> bool:
        return bool(self._parked)

    def _take(self, number: int) -> Parked | None:
        parked = self._parked.pop(number, None)
        if parked is not None and parked.head.get("wait"):
            waiting = self._waiting.get(parked.head["id"], set())
            waiting.discard(number)
            if not waiting:
                self._waiting.pop(parked.head["id"], None)
        return parked

    # ---- the connection

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            self._loop.later(RECONNECT_S, self._connect)
            return
        self._link = Link(self._loop, sock, self._message, self._lost)
        self._link.send({"op": "judge"})
        for parked in list(self._parked.values()):  # ids make the repetition safe
            self._link.send({**parked.head, "again": True}, parked.body)

    def _lost(self, _: Link) -> None:
        self._link = None
        self._loop.later(RECONNECT_S, self._connect)

    # ---- what the runner says

    def _message(self, link: Link, text: bytes, received: Body) -> None:
        head: Head = json.loads(text)
        body = bytes(received)
        if head["op"] == "end":
            self._end(link, head, body)
            return
        parked = self._take(head.get("n", 0))
        if parked is None:
            return
        try:
            if head["op"] == "list":
                parked.reply(200, commands.listing(self._dispatcher, head))
            else:
                parked.reply(200, [commands.answer(self._dispatcher, head, body)])
                if parked.head["op"] == "record" and not parked.head.get("wait"):
                    self._tell_of_end()  # over before it began, and its sender may look only when told to
        except RequestError as error:
            parked.reply(error.status, [dumps(error.as_json())])

    def _tell_of_end(self) -> None:
        """A command that nobody waits for ended: whoever listens at the socket `ended.sock` hears of it."""
        with contextlib.suppress(OSError):  # nobody listens, or is behind with listening
            self._teller.sendto(b"ended", self._ended_path)

    def _end(self, link: Link, head: Head, body: bytes) -> None:
        if len(body) <= LOOP_BYTES:
            return self._judged(link, head["id"], self._dispatcher.judge(head, body))

        def judge() -> None:
            record = self._dispatcher.judge(head, body)
            self._loop.call(self._judged, link, head["id"], record)

        threading.Thread(target=judge, daemon=True).start()

    def _judged(self, link: Link, id: str, record: bytes) -> None:
        # Before the clients hear of it: whoever reads the list next finds it there.
        link.send({"op": "judged", "id": id}, record)
        waiting = tuple(self._waiting.get(id, ()))
        if not waiting:
            self._tell_of_end()
        for number in waiting:
            parked = self._take(number)
            if parked is not None:
                parked.reply(200, [record])
        if self._dispatcher.closed:
            self._end_soon()

    # ---- the end of serving

    def _end_soon(self) -> None:
        if not self._end_at:
            self._end_at = time.monotonic() + LINGER_MOST_S
            self._loop.later(LINGER_S, self._end_serving)

    def _end_serving(self) -> None:
        if self._parked and time.monotonic() < self._end_at:
            self._loop.later(RECONNECT_S, self._end_serving)
            return
        # This is the worker; gunicorn's master is its parent, and the supervisor the parent of that.
        above = strays.stat_fields(os.getppid())[1:2]
        with contextlib.suppress(OSError), open(self._dispatcher.settings.state + "/supervisor.pid") as file:
            if above == [file.read().strip().encode()]:
                os.kill(int(above[0]), signal.SIGUSR1)
