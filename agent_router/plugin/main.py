"""The main function of a Python plugin: read the request, call the handler, print the answer."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from agent_router.plugin.errors import Failed

_encode = json.JSONEncoder(allow_nan=False).encode

Handler = Callable[[dict[str, Any]], Any]


def main(run: Handler, plan: Handler | None = None, cleanup: Handler | None = None) -> NoReturn:
    """Run the handler that AGENT_ACTION names and exit with a status of docs/plugin-protocol.md.

    A handler takes the request (dict) and returns the response; it raises Failed (or a subclass) to report a failure.
    Any other exception is a defect: its traceback goes to the log and its last line becomes the error message.
    """
    handlers = {"run": run, "plan": plan, "cleanup": cleanup}
    action = os.environ.get("AGENT_ACTION", "run")
    handler = handlers.get(action)
    if handler is None:
        _stop(64, {"error": {"code": "action_unsupported", "message": f"this plugin cannot {action}"}})
    try:
        # Decoded first, so that the bytes of a huge request are freed before its values are created.
        request = json.loads(sys.stdin.buffer.read().decode() or "{}")
    except ValueError as error:
        _stop(64, {"error": {"code": "bad_request", "message": f"stdin is not JSON: {error}"}})
    try:
        answer = handler(request)
    except Failed as error:
        _stop(error.exit_status, error.as_json())
    except Exception as error:
        import traceback

        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        _stop(1, {"error": {"code": "plugin_defect", "message": message}})
    _stop(0, answer)


def _stop(status: int, answer: Any) -> NoReturn:
    sys.stdout.write(_encode(answer) + "\n")
    sys.stdout.flush()
    raise SystemExit(status)
