"""Inspection: run the collectors, which are the plugins inspect.*, and post what they found.

Data is posted even when a collector fails, with the reasons in `error`: otherwise Ironic would learn nothing about a
broken machine.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from agent_router.commands.dispatch import Dispatcher
from agent_router.conductor.ironic import Ironic, IronicError
from agent_router.ipc.client import Client, RunnerGone
from agent_router.schema.jsontext import parse
from agent_router.schema.problems import RequestError

PREFIX = "inspect."
# IPA's collector names map to plugins inspect.NAME, with underscores for hyphens.
DEFAULT = "default,logs"
RENAMED = {"default": "inventory", "dmi-decode": "dmi"}
RETRIES, PAUSES_S = 5, (5.0, 10.0, 20.0, 30.0)

Call = Callable[[str], Any]


class CollectorFailed(Exception):
    """str() is the sentence for `error`."""


def chosen(text: str) -> list[str]:
    """Method names for the value of ipa-inspection-collectors; the inventory always comes first, the logs last."""
    wanted = [name.strip() for name in (text or DEFAULT).split(",") if name.strip()]
    names = ["inventory", *(RENAMED.get(name, name) for name in wanted)]
    methods = [PREFIX + name.replace("-", "_") for name in dict.fromkeys(names)]
    return [name for name in methods if name != PREFIX + "logs"] + [name for name in methods if name == PREFIX + "logs"]


def collect(methods: Iterable[str], call: Call) -> dict[str, Any]:
    """The merged answers, and `error`: None, or a sentence for each collector that failed."""
    data: dict[str, Any] = {"inventory": {"interfaces": []}}
    errors = []
    for method in methods:
        try:
            found = call(method)
        except CollectorFailed as error:
            errors.append(f"{method}: {error}")
            continue
        if isinstance(found, dict):
            data |= found
    return {**data, "error": "; ".join(errors) or None}


def post(ironic: Ironic, urls: list[str], data: dict[str, Any], say: Callable[[str], None]) -> bool:
    """Whether Ironic accepted or refused the data. Retries where that can help: no answer, a locked node, a 5xx."""
    for attempt in range(RETRIES):
        try:
            ironic.inspected(urls, data)
            return True
        except IronicError as error:
            say(f"ironic: inspection: {error}")
            if 400 <= error.status < 500 and error.status != 409:
                return True
        if attempt < RETRIES - 1:
            time.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
    return False


def caller(dispatcher: Dispatcher) -> Call:
    """Runs a plugin of this agent and returns its result."""
    client = Client(dispatcher.settings.state + "/runner.sock")

    def call(method: str) -> Any:
        try:
            prepared = dispatcher.prepare(method, {})
            message = prepared.message()
            message["wait"] = True
            answer, record = client.call(message, prepared.body)
        except (RequestError, RunnerGone) as error:
            raise CollectorFailed(str(error)) from None
        if answer["state"] != "ended":
            raise CollectorFailed(f"the runner says {answer['state']}")
        command = parse(record)
        if command["command_error"]:
            raise CollectorFailed(command["command_error"]["message"])
        return command["command_result"]

    return call
