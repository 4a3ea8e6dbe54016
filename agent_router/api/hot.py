"""The routes that are asked all the time, answered in the worker's loop before Flask's dispatch.

Flask serves the same routes (routes.py) for any other WSGI server; both use commands.py.
"""

from __future__ import annotations

from collections.abc import Callable

from agent_router.api import auth, commands
from agent_router.api.front import Front, Reply
from agent_router.core.dispatch import Dispatcher
from agent_router.core.jsontext import dumps
from agent_router.core.problems import RequestError

# Parsing or validating more than this takes long enough to be noticed by others: a thread does it.
LOOP_BODY = 128 << 10

Park = Callable[[int], None]


class Hot:
    def __init__(self, dispatcher: Dispatcher, front: Front) -> None:
        self._dispatcher = dispatcher
        self._front = front
        self._token = auth.Token(dispatcher.settings)

    def serves(self, method: str, path: str, length: int) -> bool:
        if path == "/v1/status":
            return method == "GET"
        if path.startswith("/v1/commands/"):
            rest = path[13:]
            return (method == "GET" and "/" not in rest) or (method == "POST" and not rest and length <= LOOP_BODY)
        return False

    def serve(
        self, method: str, path: str, query: str, authorization: str, body: bytes, reply: Reply, park: Park
    ) -> None:
        """Answer by `reply`, at once or later; `park` hears the number of a request that waits."""
        if path == "/v1/status":
            return reply(200, [commands.status_body(self._dispatcher)])
        try:
            self._token.check(path, query, authorization)
            if method == "POST":
                wait = auth.flag(query, "wait")
                call = commands.call_from_body(self._dispatcher, body, query)
                if wait:
                    call.head["wait"] = True
                park(self._front.ask(call.head, call.body, reply))
            elif path == "/v1/commands/":
                park(self._front.ask({"op": "list"}, b"", reply))
            else:
                head = {"op": "get", "id": path[13:]}
                if auth.flag(query, "wait"):
                    head["wait"] = True  # type: ignore[assignment]
                park(self._front.ask(head, b"", reply))
        except RequestError as error:
            reply(error.status, [dumps(error.as_json())])
