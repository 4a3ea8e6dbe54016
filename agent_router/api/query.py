"""Query parameters. A name or value that nobody understands is refused: it may have been meant to prevent a run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from urllib.parse import parse_qsl

from agent_router.schema.problems import RequestError

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")

Query = dict[str, str]


def parsed(text: str, known: Iterable[str]) -> Query:
    """Name to value; RequestError 400 for a name that the route does not know, twice the same, or without a value."""
    found: Query = {}
    for name, value in parse_qsl(text, keep_blank_values=True) if text else ():
        if name not in known:
            raise _wrong(f"The query parameter {name[:40]!r} is unknown here{_hint(name, known)}")
        if name in found:
            raise _wrong(f"The query parameter {name} is given twice; give it once")
        if not value:
            raise _wrong(f"The query parameter {name} has no value; write {name}=VALUE or leave it out")
        found[name] = value
    return found


def flag(query: Query, name: str) -> bool | None:
    """A boolean; None if it is not there."""
    if name not in query:
        return None
    text = query[name].lower()
    if text not in TRUE + FALSE:
        raise _wrong(f"{name} must be true or false, not {query[name][:40]!r}")
    return text in TRUE


def call_options(query: Query) -> dict[str, str | float]:
    """id, plan and timeout_s as arguments of Dispatcher.prepare."""
    options: dict[str, str | float] = {}
    if "id" in query:
        options["id"] = query["id"]
    if flag(query, "plan"):
        options["action"] = "plan"
    if "timeout_s" in query:
        try:
            options["timeout_s"] = float(query["timeout_s"])
        except ValueError:
            text = f"timeout_s is not a number: {query['timeout_s'][:40]!r}"
            raise RequestError(400, "timeout_invalid", text) from None
    return options


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower()[:40], known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; this call takes {', '.join(known)}"


def _wrong(message: str) -> RequestError:
    return RequestError(400, "query_invalid", message)
