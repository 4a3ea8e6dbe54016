"""Answers that come later. A view returns one, and the server decides how to wait for it.

Our worker finds the object in the place of the WSGI result, as others find `wsgi.file_wrapper`, and waits without a
thread. Any other caller (Flask's test client, the command line) gets the answer when it is there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from flask import Response

from agent_router.api.errors import error_response, failure_response
from agent_router.commands.judge_process import Work
from agent_router.commands.lines import LineReader
from agent_router.ipc.client import Client, RunnerGone
from agent_router.ipc.messages import Question
from agent_router.schema.problems import RequestError

log = logging.getLogger("agent_router")

POLL_S = 0.1
# In a WSGI environment: the server knows what to do with the classes of this module.
KNOWN = "agent.later"

Finish = Callable[[Any, bytes], Response]
Outcome = Callable[[], Any]


class Ask(Protocol):
    """One message to the runner; RequestError 503 if it does not come back."""

    def __call__(self, message: Question, body: bytes = b"") -> tuple[Any, bytes]: ...


class Check(Protocol):
    """One job for the judge (see commands/judge_process.py), `size` that of its document."""

    def __call__(self, work: Work, args: tuple[Any, ...], size: int) -> Any: ...


class Later(Response):
    """A response that is not known yet."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if KNOWN in environ:
            return self
        return self.wait()(environ, start_response)

    def wait(self) -> Response:
        """Block until the answer is there."""
        raise NotImplementedError


class Computed(Later):
    """An answer that may take long to compute: what the judge does for it, and what makes a response of it.

    `finish` is called with what returns or raises the outcome.
    """

    def __init__(
        self, check: Check, work: Work, args: tuple[Any, ...], size: int, finish: Callable[[Outcome], Response]
    ) -> None:
        super().__init__()
        self._check = check
        self.work = work
        self.args = args
        self.size = size
        self._finish = finish

    def finish(self, outcome: Outcome) -> Response:
        return guarded(lambda: self._finish(outcome))

    def wait(self) -> Response:
        return self.finish(lambda: self._check(self.work, self.args, self.size))


class Parked(Later):
    """An answer that the runner gives: what is asked, and what makes a response of it."""

    def __init__(self, ask: Ask, message: Question, body: bytes, finish: Finish) -> None:
        super().__init__()
        self._ask = ask
        self.message = message
        self.body = body
        self._finish = finish

    def finish(self, answer: Any, body: bytes) -> Response:
        return guarded(lambda: self._finish(answer, body))

    def wait(self) -> Response:
        try:
            answer, body = self._ask(self.message, self.body)
        except RequestError as error:
            return error_response(error)
        return self.finish(answer, body)


class Followed(Later):
    """A file of a command that is sent line by line as it grows, until the command's end."""

    def __init__(
        self,
        ask: Ask,
        id: str,
        lines: LineReader,
        mimetype: str,
        show: Callable[[list[bytes]], bytes],
        last: Callable[[bytes], bytes] = lambda record: b"",
        keep_alive: bytes = b"",
    ) -> None:
        super().__init__(mimetype=mimetype)
        self._ask = ask
        self.id = id
        self.lines = lines
        self._show = show
        self.last = last
        self.keep_alive = keep_alive
        self.headers["X-Accel-Buffering"] = "no"  # a proxy in between must not collect it

    def take(self, over: bool = False) -> bytes:
        """What is new, as it is sent; with `over` also a last line that has no end."""
        found = self.lines.take(over)
        return self._show(found) if found else b""

    def wait(self) -> Response:
        return Response(self._wait_for_lines(), mimetype=self.mimetype, headers={"X-Accel-Buffering": "no"})

    def _wait_for_lines(self) -> Iterator[bytes]:
        while True:
            answer, record = self._ask({"op": "get", "id": self.id})
            while data := self.take():
                yield data
            if answer["state"] != "running":
                yield self.take(over=True) + self.last(record)
                return
            time.sleep(POLL_S)


def guarded(make: Callable[[], Response]) -> Response:
    """The response, or the one for the exception, as Flask's error handlers give it for a view."""
    try:
        return make()
    except RequestError as error:
        return error_response(error)
    except Exception as error:
        log.exception("Error making an answer")
        return failure_response(error)


class BlockingRunner:
    """Blocking questions to the runner, a connection for each thread."""

    def __init__(self, state: str) -> None:
        self._path = state + "/runner.sock"
        self._local = threading.local()

    def ask(self, message: Question, body: bytes = b"") -> tuple[Any, bytes]:
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = Client(self._path)
        try:
            return client.call(message, body)
        except RunnerGone as error:
            raise RequestError(503, "runner_gone", str(error)) from None
