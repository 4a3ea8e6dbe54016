"""Several commands that one plugin runs one after the other: all are checked before the first is run.

The plugin gets them prepared, as messages for the runner, because to check a request is the front's work.
"""

import json
from collections.abc import Callable
from typing import Any

from agent_router.core.calls import Call, Several
from agent_router.core.jsontext import dumps
from agent_router.core.problems import Problem, RequestError

Prepare = Callable[[str, Any], Call]


def prepared(prepare: Prepare, several: Several) -> tuple[bytes, list[str]]:
    """(what the plugin gets, the secrets in it); RequestError with every problem of every command."""
    listed, hidden, problems, status = [], [], [], 0
    for number, (name, params) in enumerate(several.commands):
        path = f"{several.path}[{number}]"
        try:
            call = prepare(name, params)
            if refusal := call.head.get("refused"):
                raise RequestError(403, "refused", refusal)
        except RequestError as error:
            status = status or error.status
            problems += [Problem(path, f"{name}: {problem}") for problem in error.problems] or [
                Problem(path, error.message)
            ]
            continue
        size = call.head.get("secrets", 0)
        hidden += json.loads(call.body[:size] or b"[]")
        listed.append({"name": name, "head": call.head, "body": call.body.decode()})
    if problems:
        named = "; ".join(map(str, problems[:3])) + (" …" if len(problems) > 3 else "")
        raise RequestError(status, "request_invalid", f"Nothing was run: {named}", problems)
    return dumps({"commands": listed}), hidden
