"""Follow a running command: a progress bar and the log on a terminal, Ctrl-C cancels."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from agent_router.cli.transport import Transport, Unreachable
from agent_router.core.problems import RequestError

POLL_S = 0.15


def follow(transport: Transport, id: str, show_log: bool) -> dict[str, Any]:
    """Wait for the end of a command and return it. The first Ctrl-C cancels, a second one leaves."""
    if sys.stderr.isatty():
        return _with_bar(transport, id, show_log)
    if show_log:
        _log_thread(transport, id, lambda line: print(line, file=sys.stderr, flush=True))
    return _wait(transport, id, lambda command: None)


def _with_bar(transport: Transport, id: str, show_log: bool) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None, note="")

        def update(command: dict[str, Any]) -> None:
            progress = command.get("progress") or {}
            note = command.get("phase", "") or progress.get("message", "")
            bar.update(
                task, description=command["name"], completed=progress.get("done", 0),
                total=progress.get("total"), note=note,
            )  # fmt: skip

        if show_log:
            _log_thread(transport, id, lambda line: bar.console.print(line, markup=False, highlight=False))
        command = _wait(transport, id, update)
        update(command)
    for warning in command.get("warnings", ()):
        console.print(f"warning: {warning}", style="yellow", markup=False)
    return command


def _wait(transport: Transport, id: str, update: Any) -> dict[str, Any]:
    cancelled = False
    pause = 0.005
    while True:
        try:
            command: dict[str, Any] = transport.request("GET", f"/v1/commands/{id}")
            if command["command_status"] != "RUNNING":
                return command
            update(command)
            time.sleep(pause)
            pause = min(POLL_S, pause * 1.5)
        except KeyboardInterrupt:
            if cancelled:
                raise
            cancelled = True
            _cancel(transport, id)
        except Unreachable:
            time.sleep(1)  # the agent may be restarting; the command goes on meanwhile


def _cancel(transport: Transport, id: str) -> None:
    print("\ncancelling (Ctrl-C again leaves it running) …", file=sys.stderr)
    try:
        transport.request("DELETE", f"/v1/commands/{id}")
    except RequestError as error:
        print(f"agent-router: {error.message}", file=sys.stderr)


def _log_thread(transport: Transport, id: str, write: Any) -> None:
    def run() -> None:
        for line in transport.lines(f"/v1/commands/{id}/log", follow=True):
            text = line[3:] if line[:1] == "<" and line[2:3] == ">" else line
            if text:
                write(text)

    threading.Thread(target=run, daemon=True).start()
