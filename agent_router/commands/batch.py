"""Batch commands that one plugin runs one after the other: all are checked before the first is run.

The plugin gets them prepared, as messages for the runner, because to check a request is the front's work.
"""

import json
from collections.abc import Callable
from typing import Any, cast

from agent_router.commands.calls import Batch, Call
from agent_router.ipc.messages import Run
from agent_router.schema.jsontext import dumps
from agent_router.schema.problems import Problem, RequestError

Prepare = Callable[[str, Any], Call]


def prepared(prepare: Prepare, batch: Batch) -> tuple[bytes, list[str]]:
    """(what the plugin gets, the secrets in it); RequestError with every problem of every command."""
    listed, hidden, problems, status = [], [], [], 0
    for number, (name, params) in enumerate(batch.commands):
        path = f"{batch.path}[{number}]"
        try:
            call = prepare(name, params)
            head = cast(Run, call.head)
            if refusal := head.get("refused"):
                raise RequestError(403, "refused", refusal)
        except RequestError as error:
            status = status or error.status
            problems += [Problem(path, f"{name}: {problem}") for problem in error.problems] or [
                Problem(path, error.message)
            ]
            continue
        size = head.get("secrets", 0)
        hidden += json.loads(call.body[:size] or b"[]")
        stdin = call.stdin.read() if call.stdin is not None else b""
        listed.append({"name": name, "head": head, "body": (call.body + stdin).decode()})
    if problems:
        named = "; ".join(map(str, problems[:3])) + (" …" if len(problems) > 3 else "")
        raise RequestError(status, "request_invalid", f"Nothing was run: {named}", problems)
    return dumps({"commands": listed}), hidden
