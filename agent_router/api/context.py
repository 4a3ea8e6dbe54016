"""What the views work with."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from agent_router.api.later import Ask, Check
from agent_router.commands.dispatch import Dispatcher

KEY = "agent_router"


@dataclass(frozen=True, slots=True)
class Context:
    dispatcher: Dispatcher
    ask: Ask  # how a view reaches the runner where no server parks it
    check: Check  # the same for the judge
    status: bytes  # the body of GET /v1/status


def context() -> Context:
    """Of the application that handles the current request."""
    found: Context = current_app.extensions[KEY]
    return found
