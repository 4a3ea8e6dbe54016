"""What a person sees: tables and results on a terminal, JSON when piped."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

import click

from agent_router.commands.progress import progress_text
from agent_router.schema.jsontext import pretty
from agent_router.schema.problems import RequestError

COLOURS = {
    "ready": "green", "SUCCEEDED": "green", "RUNNING": "yellow", "FAILED": "red", "invalid": "red",
    "untrusted": "red", "incomplete": "yellow", "unavailable": "yellow", "not_for_this_hardware": "dim",
    "ignored": "dim", "destroy": "red", "change": "yellow",
}  # fmt: skip


def on_terminal() -> bool:
    return sys.stdout.isatty()


def result(value: Any) -> None:
    """A JSON value."""
    print(pretty(value))


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], empty: str) -> None:
    """Columns as wide as their cells; the last one wraps at the edge of the terminal."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)][:-1]
    indent = sum(widths) + 2 * len(widths)
    room = max(20, shutil.get_terminal_size((200, 24)).columns - indent)
    for number, row in enumerate((columns, *rows)):
        cells = [_coloured(cell, width, number == 0) for cell, width in zip(row, widths, strict=False)]
        first, *more = textwrap.wrap(row[-1], room) or [""]
        click.echo("  ".join([*cells, click.style(first, bold=number == 0)]).rstrip())
        for line in more:
            click.echo(" " * indent + line)


def _coloured(cell: str, width: int, bold: bool) -> str:
    colour = COLOURS.get(cell, "")
    style = {"dim": True} if colour == "dim" else {"fg": colour} if colour else {}
    return click.style(cell, bold=bold or None, **style) + " " * (width - len(cell))


def methods(found: list[dict[str, Any]]) -> None:
    rows = [
        (item["name"], item["state"], item.get("effects", ""), item["reason"] or item.get("title", ""))
        for item in found
    ]
    table(("METHOD", "STATE", "EFFECTS", "WHAT IT DOES, OR WHY IT CANNOT"), rows, "There are no methods.")


def notices(found: list[dict[str, str]]) -> None:
    """Notices about the start of the ramdisk; nothing if all went well."""
    if found:
        click.echo()
        table(("NOTICE", "WHAT WENT WRONG BEFORE THE AGENT STARTED"), [(n["source"], n["message"]) for n in found], "")


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
    """An error from the agent, with each problem on its own line."""
    if len(error.problems) < 2:
        print(f"agent-router: {error.message}", file=sys.stderr)
    else:
        what = error.message.partition(str(error.problems[0]))[0].rstrip(": ")
        print(f"agent-router: {what}: the request has {len(error.problems)} problems", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem.path}: {problem.message}", file=sys.stderr)


def failure(command: dict[str, Any], log_shown: bool = False) -> None:
    """Why a command failed; its log is not repeated if it was already shown."""
    error = command["command_error"]
    print(f"agent-router: {command['name']} failed ({error['type']}): {error['message']}", file=sys.stderr)
    rest = error["details"].removeprefix(error["message"]).strip()
    if log_shown and rest.startswith("log: "):
        rest = "".join(rest.partition("\noutput: ")[1:]).strip()
    for line in rest.splitlines()[:20]:
        print(f"  {line}", file=sys.stderr)
