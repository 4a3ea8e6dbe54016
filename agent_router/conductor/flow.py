"""flow.start_flow: several commands, one after the other, as one command.

The API calls `expand`, then checks and prepares the commands. The plugin, a process of its own, calls `run`, which
passes them to the runner: each is a command like any other, and the death of the API worker stops nothing.
"""

import json
import signal
import time
from typing import Any, TypedDict

from agent_router import plugin
from agent_router.commands.calls import Batch
from agent_router.commands.progress import progress_text
from agent_router.ipc.client import Client, RunnerGone
from agent_router.ipc.messages import Run
from agent_router.plugin.cancel import Cancelled, raise_on_sigterm
from agent_router.schema.problems import Problem, RequestError

COMMAND = "flow.start_flow"
POLL_S = (0.01, 0.25)  # between two polls of a running command: at first, and later
START_POLLS = 4


class FlowCommand(TypedDict):
    """A command as prepared by the API: the message for the runner and its body."""

    name: str
    head: Run
    body: str


def expand(params: dict[str, Any]) -> Batch | None:
    """The commands of a flow; None if it is malformed, which its schema reports better."""
    flow = params.get("flow")
    if not isinstance(flow, list) or not all(isinstance(entry, dict) and len(entry) == 1 for entry in flow):
        return None
    commands = [command for entry in flow for command in entry.items()]
    if not all(isinstance(params, dict) for _, params in commands):
        return None
    for number, (name, _) in enumerate(commands):
        if name == COMMAND:
            text = "a flow cannot contain a flow; list its commands here instead"
            raise RequestError(400, "request_invalid", text, [Problem(f"$.flow[{number}]", text)])
    return Batch(commands, "$.flow")


def run(request: dict[str, Any], state: str) -> dict[str, Any]:
    """Handler of the plugin: {"results": [command object, …]}; Failed with the results so far as `partial`."""
    client = Client(state + "/runner.sock")
    results: list[dict[str, Any]] = []
    commands: list[FlowCommand] = request["commands"]
    where, id = "the flow", ""
    try:
        raise_on_sigterm()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # else the death of the runner would kill this plugin
        for number, command in enumerate(commands):
            where, id = f"command {number + 1} of {len(commands)}, {command['name']},", command["head"]["id"]
            record = _finish(client, command, number, len(commands))
            results.append(record)
            if record["command_error"]:
                message = f"{where} failed: {record['command_error']['message']}"
                raise plugin.Failed("command_failed", message, partial={"results": results})
    except Cancelled:
        _cancel(state, id)
        raise plugin.Failed("stopped", f"{where} was stopped", partial={"results": results}) from None
    except RunnerGone as error:
        raise plugin.Failed("agent_gone", f"{where} is unknown: {error}", partial={"results": results}) from None
    plugin.progress(len(commands), len(commands), "commands")
    return {"results": results}


def _finish(client: Client, command: FlowCommand, done: int, total: int) -> dict[str, Any]:
    """Start one command and wait for its end, reporting progress."""
    # Never synchronous: it must be cancellable here.
    head: Run = {**command["head"], "wait": False, "at": time.time()}
    pause, longest = POLL_S
    answer, body = client.call(head, command["body"].encode())
    while answer["state"] == "running":
        text = progress_text(answer.get("progress"))
        plugin.progress(done, total, "commands", f"{command['name']}: {text}" if text else command["name"])
        time.sleep(pause)
        pause = min(2 * pause, longest)
        answer, body = client.call({"op": "get", "id": head["id"]})
    if answer["state"] == "busy":
        message = f"{answer['by']} (command {answer['holder']}) is running; try again when it has finished"
        return {"name": command["name"], "command_error": {"message": message}}
    if answer["state"] != "ended":
        return {"name": command["name"], "command_error": {"message": "the agent no longer knows the command"}}
    record: dict[str, Any] = json.loads(body)
    return record


def _cancel(state: str, id: str) -> None:
    """End the running command and wait for that; during a critical section the request is repeated."""
    client = Client(state + "/runner.sock")  # the interrupted one may be in the middle of an answer
    unknown = 0  # the message that starts the command may still be on its way
    while unknown < START_POLLS:
        asked, _ = client.call({"op": "cancel", "id": id})
        if asked["state"] == "ended":
            return
        unknown += asked["state"] == "unknown"
        time.sleep(POLL_S[1])
