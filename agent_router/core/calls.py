"""What a request becomes: a prepared call of a plugin, or an answer that needs none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_router.runner.wire import Head

if TYPE_CHECKING:
    from agent_router.core.registry import Registry


@dataclass(slots=True)
class Call:
    """One prepared command: the message for the runner and the bytes for the plugin's stdin."""

    id: str
    head: Head
    body: bytes


@dataclass(slots=True)
class Answer:
    """A command that is answered from what the agent knows; it is remembered like any other."""

    result: Any
    status: str = "SUCCEEDED"


@dataclass(slots=True)
class Shown:
    """Under which name and in which shape the caller of a plugin sees it.

    The result is {`key`: the part of the plugin's response at `pointer`, **`beside`}.
    """

    name: str
    key: str
    beside: dict[str, Any]
    pointer: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "key": self.key, "beside": self.beside, "pointer": self.pointer}


@dataclass(slots=True)
class Translated:
    """The plugin that a name of another vocabulary stands for, and its request."""

    name: str
    params: dict[str, Any]
    shown: Shown
    lock: str


@dataclass(slots=True)
class Several:
    """Commands that the called plugin runs one after the other; `path` is where they stand in its request."""

    commands: list[tuple[str, Any]]
    path: str


# (registry, name, params) -> what the name stands for; None: it is a plugin's own name.
Translate = Callable[["Registry", str, dict[str, Any]], Answer | Translated | Several | None]
