"""What every view needs, without Flask: the dispatcher, and messages to the runner."""

from __future__ import annotations

import threading

from agent_router.api import commands
from agent_router.core.calls import Call
from agent_router.core.client import AskerLeft, Client, Left, RunnerGone
from agent_router.core.dispatch import Dispatcher
from agent_router.core.problems import RequestError
from agent_router.runner.wire import Head


class Asker:
    """A dispatcher and, per thread, a connection to the runner."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.agent_dispatcher = dispatcher
        self._local = threading.local()

    def ask(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        """One message to the runner; RequestError 503 if it does not come back."""
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = Client(self.agent_dispatcher.settings.state + "/runner.sock")
        try:
            answer: tuple[Head, bytes] = client.call(head, body, self.left())
            return answer
        except AskerLeft:
            raise RequestError(503, "client_left", "Nobody waits for this answer any more") from None
        except RunnerGone as error:
            raise RequestError(503, "runner_gone", str(error)) from None

    def left(self) -> Left | None:
        """Tells whether the client of this request has gone; None where that cannot be known."""
        return None

    def run(self, call: Call, wait: bool | None) -> bytes:
        """Run a prepared call; the command object, running or finished."""
        if wait:
            call.head["wait"] = True
        head, body = self.ask(call.head, call.body)
        return commands.answer(self.agent_dispatcher, head, body)

    def get(self, id: str, wait: bool = False) -> bytes:
        """The command object; RequestError if there is none."""
        head, body = self.ask({"op": "get", "id": id, "wait": wait})
        return commands.answer(self.agent_dispatcher, head, body)

    def cancel(self, id: str, wait: bool = False) -> bytes:
        """Ask for the end of a command; its object."""
        head, _ = self.ask({"op": "cancel", "id": id})
        if head["state"] == "refused":
            raise RequestError(409, "not_cancellable", f"Command {id} cannot be cancelled: {head['message']}")
        if head["state"] == "ended":
            raise RequestError(409, "already_ended", f"Command {id} has ended already")
        return self.get(id, wait)
