"""The worker's judge: one job at a time, the others wait in line, and the loop goes on meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from agent_router.commands import judge_process
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.judge_process import JudgeError, JudgeProcess, TookLong, Work
from agent_router.ipc.connection import Connection
from agent_router.ipc.loop import Loop, Timer
from agent_router.schema.problems import RequestError

MOST_WAITING = 256
IDLE_S = 60.0  # after that it ends, and its memory is free

Outcome = Callable[[], Any]  # what the work returned; raises RequestError or JudgeError


class Job:
    __slots__ = ("work", "args", "size", "done")

    def __init__(self, work: Work, args: tuple[Any, ...], size: int, done: Callable[[Outcome], None] | None) -> None:
        self.work = work
        self.args = args
        self.size = size
        self.done = done  # None: nobody waits for it any more


class Judging:
    def __init__(self, loop: Loop, dispatcher: Dispatcher) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._line: deque[Job] = deque()
        self._urgent: deque[Job] = deque()
        self._current: Job | None = None
        self._process: JudgeProcess | None = None
        self._connection: Connection | None = None
        self._limit: Timer | None = None
        self._rest: Timer | None = None

    def run(
        self, work: Work, args: tuple[Any, ...], size: int, done: Callable[[Outcome], None], urgent: bool = False
    ) -> Job:
        """Call work(dispatcher, *args) in the judge, then done(outcome) in the loop; verdicts are `urgent`.

        `size` is that of the document that it is about.
        """
        job = Job(work, args, size, done)
        if not urgent and len(self._line) >= MOST_WAITING:
            text = f"{MOST_WAITING} requests wait to be checked; try again later"
            self._loop.later(0, done, partial(_raise, RequestError(503, "judge_busy", text)))
            return job
        (self._urgent if urgent else self._line).append(job)
        self._next()
        return job

    def forget(self, job: Job | None) -> None:
        """Nobody waits for it any more."""
        if job is not None:
            job.done = None
            if job in self._line:
                self._line.remove(job)

    def _next(self) -> None:
        if self._current is not None or not (self._urgent or self._line):
            return
        job = self._current = (self._urgent or self._line).popleft()
        self._loop.cancel(self._rest)
        try:
            connection = self._connected()
            frame = judge_process.job(self._dispatcher, job.work, job.args, job.size)
        except OSError as error:
            text = f"The agent could not start a process to check it: {error.strerror}; try again later"
            self._loop.later(0, self._finish, partial(_raise, RequestError(503, "no_process", text)))
            return
        self._limit = self._loop.later(judge_process.wall_s(job.size), self._late, job)
        connection.send({"op": "job"}, frame)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._process = JudgeProcess(self._dispatcher)
            self._connection = Connection(self._loop, self._process.sock, self._answered, self._hung_up)
        return self._connection

    def _answered(self, _: Connection, __: bytes, body: bytes) -> None:
        self._finish(partial(judge_process.answer, self._dispatcher, body))

    def _hung_up(self, _: Connection) -> None:
        self._connection = None
        process, self._process = self._process, None
        if process is None:
            return
        if self._current is None:
            process.end()
        else:
            self._finish(partial(_raise, process.died(self._current.size)))

    def _late(self, job: Job) -> None:
        if self._current is job:
            self._end()
            self._finish(partial(_raise, TookLong(job.size)))

    def _end(self) -> None:
        """End the process; the next job gets a new one."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if process is not None and connection is not None:
            connection.close()
            process.end()

    def _finish(self, outcome: Outcome) -> None:
        self._loop.cancel(self._limit)
        job, self._current = self._current, None
        self._rest = self._loop.later(IDLE_S, self._end)
        if job is not None and job.done is not None:
            job.done(outcome)
        self._next()


def _raise(error: RequestError | JudgeError) -> Any:
    raise error
