"""What a person sees: tables and results on a terminal, JSON when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from agent_router.core.jsontext import pretty
from agent_router.core.problems import RequestError
from agent_router.core.progress import progress_text

COLOURS = {
    "ready": "green", "SUCCEEDED": "green", "RUNNING": "yellow", "FAILED": "red", "invalid": "red",
    "untrusted": "red", "incomplete": "yellow", "unavailable": "yellow", "not_for_this_hardware": "dim",
    "ignored": "dim", "destroy": "red", "change": "yellow",
}  # fmt: skip


def on_terminal() -> bool:
    return sys.stdout.isatty()


def result(value: Any) -> None:
    """A JSON value, coloured on a terminal."""
    if on_terminal():
        from rich.console import Console

        Console().print_json(pretty(value))
    else:
        print(pretty(value))


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], empty: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print(empty, file=sys.stderr)
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console(width=None if on_terminal() else 200).print(made)


def methods(found: list[dict[str, Any]]) -> None:
    rows = [
        (item["name"], item["state"], item.get("effects", ""), item["reason"] or item.get("title", ""))
        for item in found
    ]
    table(("METHOD", "STATE", "EFFECTS", "WHAT IT DOES, OR WHY IT CANNOT"), rows, "There are no methods.")


def steps(found: dict[str, list[dict[str, Any]]]) -> None:
    rows = [
        (phase, str(step["priority"]), f"{step['interface']}.{step['step']}", step["method"])
        for phase, steps in found.items()
        for step in steps
    ]
    table(("PHASE", "PRIORITY", "STEP", "METHOD"), rows, "No plugin here offers a step.")


def commands(found: list[dict[str, Any]]) -> None:
    rows = []
    for item in found:
        started = time.strftime("%H:%M:%S", time.localtime(item["started_at"]))
        took = item.get("ended_at", time.time()) - item["started_at"]
        note = (item.get("command_error") or {}).get("message", "") or progress_text(item.get("progress"))
        rows.append((item["id"], item["name"], item["command_status"], started, f"{took:.1f} s", note))
    table(("ID", "METHOD", "STATUS", "STARTED", "TOOK", "NOTE"), rows, "No command has been run yet.")


def request_error(error: RequestError) -> None:
    """An error of the agent, with every problem on a line of its own."""
    if len(error.problems) < 2:
        print(f"agent-router: {error.message}", file=sys.stderr)
    else:
        what = error.message.partition(str(error.problems[0]))[0].rstrip(": ")
        print(f"agent-router: {what}: the request has {len(error.problems)} problems", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem.path}: {problem.message}", file=sys.stderr)


def failure(command: dict[str, Any], log_shown: bool = False) -> None:
    """Why a command failed; its log is not repeated if it has been shown already."""
    error = command["command_error"]
    print(f"agent-router: {command['name']} failed ({error['type']}): {error['message']}", file=sys.stderr)
    rest = error["details"].removeprefix(error["message"]).strip()
    if log_shown and rest.startswith("log: "):
        rest = "".join(rest.partition("\noutput: ")[1:]).strip()
    for line in rest.splitlines()[:20]:
        print(f"  {line}", file=sys.stderr)
