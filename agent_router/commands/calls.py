"""What a request becomes: a prepared call of a plugin, or an answer that needs none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_router.ipc.messages import Record, ResultShape, Run
from agent_router.ipc.spool import Spooled

if TYPE_CHECKING:
    from agent_router.catalogue.registry import Registry


@dataclass(slots=True)
class Call:
    """One prepared command: the message for the runner, its body, and the plugin's stdin where that is large."""

    id: str
    head: Run | Record
    body: bytes
    stdin: Spooled | None = None

    def message(self) -> Run | Record:
        """To be sent at once: from now on the file with the large stdin belongs to the runner."""
        if self.stdin is not None and self.head["op"] == "run":
            self.head["stdin"] = self.stdin.publish()
        return self.head


@dataclass(slots=True)
class Answer:
    """A command that is answered from what the agent knows; it is remembered like any other."""

    result: Any
    status: str = "SUCCEEDED"


@dataclass(slots=True)
class Translated:
    """The plugin that a name of another vocabulary stands for, and its request."""

    name: str
    params: dict[str, Any]
    shown: ResultShape
    lock: str


@dataclass(slots=True)
class Batch:
    """Commands that the called plugin runs one after the other; `path` is where they stand in its request."""

    commands: list[tuple[str, Any]]
    path: str


# (registry, name, params) -> what the name stands for; None: it is a plugin's own name.
Translate = Callable[["Registry", str, dict[str, Any]], Answer | Translated | Batch | None]
