"""The worker's connection to the runner: questions of many waiting clients, and the verdict on every ended command.

A question costs no thread: it waits here for the runner's answer, or for the end of its command.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from agent_router.api.judging import Judging, Outcome
from agent_router.commands import end_of_service
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.judge_process import ATTEMPTS, JudgeError, TookLong, VerdictArgs, verdict_work
from agent_router.ipc.connection import Connection
from agent_router.ipc.loop import Loop
from agent_router.ipc.messages import End, Question
from agent_router.schema.problems import RequestError
from agent_router.schema.validation import TakesLong

RECONNECT_S = 0.02
GONE_S = 30.0  # without a runner for so long, a question is answered with 503
FRUITLESS = 20  # and after so many connections in a row on which the runner said nothing
# After the last command: until its answer is with the client; and how long one that is under way may delay that.
LINGER_S, LINGER_MOST_S = 1.0, 10.0

# The runner's answer and its body, or the reason why there is none.
Reply = Callable[[Any, bytes], None]
Refuse = Callable[[RequestError], None]


class Waiting:
    """A question without an answer."""

    __slots__ = ("message", "body", "reply", "refuse", "since")

    def __init__(self, message: Question, body: bytes, reply: Reply, refuse: Refuse) -> None:
        self.message = message
        self.body = body
        self.reply = reply
        self.refuse = refuse
        self.since = time.monotonic()


class RunnerConnection:
    def __init__(self, loop: Loop, dispatcher: Dispatcher, judging: Judging) -> None:
        self._loop = loop
        self._judging = judging
        self._dispatcher = dispatcher
        self._path = dispatcher.settings.state + "/runner.sock"
        self._connection: Connection | None = None
        self._lost_at = time.monotonic()
        self._fruitless = 0
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Waiting] = {}
        self._by_command: dict[str, set[int]] = {}  # numbers of those that wait for the end of a command
        self._ended_path = dispatcher.settings.state + "/ended.sock"
        self._teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._end_at = 0.0
        self._connect()
        if end_of_service.closed(dispatcher.settings.state):  # a worker before this one was killed in between
            dispatcher.closed = True
            self._end_soon()

    def ask(self, message: Question, body: bytes, reply: Reply, refuse: Refuse) -> int:
        """Ask the runner; returns the number of the question for `forget`."""
        number = next(self._numbers)
        message["n"] = number
        self._waiting[number] = Waiting(message, body, reply, refuse)
        if _waits(message):
            self._by_command.setdefault(_id(message), set()).add(number)
        if self._connection is not None:
            self._connection.send(message, body)
        return number

    def forget(self, number: int) -> None:
        """The client went away; its command goes on."""
        self._take(number)

    def give_up(self) -> None:
        """Answer those that have waited too long for a runner that is gone; to be called now and then."""
        if self._connection is not None:
            return
        now = time.monotonic()
        for number, waiting in list(self._waiting.items()):
            if now - max(self._lost_at, waiting.since) > GONE_S:
                self._refuse(number, "does not answer; it may be restarting")

    def _refuse(self, number: int, why: str) -> None:
        waiting = self._take(number)
        if waiting is not None:
            waiting.refuse(RequestError(503, "runner_gone", f"The runner on {self._path} {why}: try again"))

    def _take(self, number: int) -> Waiting | None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None and _waits(waiting.message):
            id = _id(waiting.message)
            numbers = self._by_command.get(id, set())
            numbers.discard(number)
            if not numbers:
                self._by_command.pop(id, None)
        return waiting

    # ---- the connection

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            self._loop.later(RECONNECT_S, self._connect)
            return
        self._connection = Connection(self._loop, sock, self._message, self._lost)
        self._connection.send({"op": "judge"})
        for waiting in list(self._waiting.values()):
            waiting.message["again"] = True  # ids make the repetition safe
            self._connection.send(waiting.message, waiting.body)

    def _lost(self, _: Connection) -> None:
        self._connection = None
        self._lost_at = time.monotonic()
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:  # one of these questions may be the reason, and would come again for ever
            self._fruitless = 0
            for number in list(self._waiting):
                self._refuse(number, "hangs up again and again")
        self._loop.later(RECONNECT_S, self._connect)

    # ---- what the runner says

    def _message(self, connection: Connection, text: bytes, body: bytes) -> None:
        self._fruitless = 0
        answer: Any = json.loads(text)
        if answer["op"] == "end":
            self._end(connection, answer, body)
            return
        waiting = self._take(answer.get("n") or 0)
        if waiting is None:
            return
        waiting.reply(answer, body)
        if waiting.message["op"] == "record" and not _waits(waiting.message):
            self._tell_of_end()  # over before it began, and its sender may look only when told to

    def _tell_of_end(self) -> None:
        """A command that nobody waits for ended: whoever listens at the socket `ended.sock` hears of it."""
        with contextlib.suppress(OSError):  # nobody listens, or is behind with listening
            self._teller.sendto(b"ended", self._ended_path)

    def _end(self, connection: Connection, end: End, out: bytes) -> None:
        args, size = verdict_work(self._dispatcher, end, out)
        try:
            self._judged(connection, end["id"], self._dispatcher.verdict(*args, True))
        except TakesLong:
            self._judge(connection, args, size, ATTEMPTS)

    def _judge(self, connection: Connection, args: VerdictArgs, size: int, attempts: int) -> None:
        """Have the judge do it; one that it died of so many times gets a verdict that says so."""
        end, _, _, hidden = args

        def done(outcome: Outcome) -> None:
            try:
                record = outcome()
            except JudgeError as error:
                if attempts > 1 and not isinstance(error, TookLong):
                    return self._judge(connection, args, size, attempts - 1)
                record = self._dispatcher.unjudged(end, hidden, error.kind, str(error))
            except RequestError:  # no process can be started now
                self._loop.later(1.0, self._judge, connection, args, size, attempts)
                return
            self._judged(connection, end["id"], record)

        self._judging.run(type(self._dispatcher).verdict, args, size, done, urgent=True)

    def _judged(self, connection: Connection, id: str, record: bytes) -> None:
        # Before the clients hear of it: whoever reads the list next finds it there.
        connection.send({"op": "judged", "id": id}, record)
        numbers = tuple(self._by_command.get(id, ()))
        if not numbers:
            self._tell_of_end()
        for number in numbers:
            waiting = self._take(number)
            if waiting is not None:
                waiting.reply({"op": "get", "n": number, "id": id, "state": "ended"}, record)
        if self._dispatcher.closed:
            self._end_soon()

    # ---- the end of serving

    def _end_soon(self) -> None:
        if not self._end_at:
            self._end_at = time.monotonic() + LINGER_MOST_S
            self._loop.later(LINGER_S, self._end_serving)

    def _end_serving(self) -> None:
        if self._waiting and time.monotonic() < self._end_at:
            self._loop.later(RECONNECT_S, self._end_serving)
            return
        with contextlib.suppress(OSError), open(self._dispatcher.settings.state + "/supervisor.pid") as file:
            if file.read().strip() == str(os.getppid()):
                os.kill(os.getppid(), signal.SIGUSR1)


def _waits(message: Question) -> bool:
    return bool(message.get("wait"))


def _id(message: Question) -> str:
    return str(message.get("id", ""))
