"""Follow a running command: a progress bar and the log on a terminal, Ctrl-C cancels."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from agent_router.cli.progress_bar import ProgressBar
from agent_router.cli.transport import END_SIGNALS, LocalTransport, Transport, Unreachable
from agent_router.schema.problems import RequestError

POLL_S = 0.15
LAST_LINES_S = 5.0
RESTARTING = 503


class CtrlC:
    """From now on Ctrl-C raises KeyboardInterrupt only inside heard(), where we wait; elsewhere it is deferred."""

    def __init__(self) -> None:
        self._came = 0
        self._open = False
        self.cancelled = False
        for number in END_SIGNALS:
            if signal.getsignal(number) is signal.default_int_handler:
                signal.signal(number, self._come)

    def _come(self, *_: object) -> None:
        self._came += 1
        self._tell()

    def _tell(self) -> None:
        if self._came and self._open:
            self._came -= 1
            self._open = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        self._open = True
        try:
            self._tell()
            yield
        finally:
            self._open = False


def run(transport: Transport, body: dict[str, Any], show_log: bool, **query: Any) -> dict[str, Any]:
    """Send a command and follow it."""
    id, interrupted, ctrl_c = str(uuid.uuid4()), False, CtrlC()
    try:
        with ctrl_c.heard():
            transport.request("POST", "/v1/commands/", body, id=id, **query)
    except KeyboardInterrupt:  # the command may have been started already
        interrupted = True
    return follow(transport, id, show_log, ctrl_c, interrupted)


def follow(transport: Transport, id: str, show_log: bool, ctrl_c: CtrlC, interrupted: bool = False) -> dict[str, Any]:
    """Wait for a command to end and return it. The first Ctrl-C cancels it, a second one stops waiting.

    `interrupted`: the first Ctrl-C came while the command was being sent.
    """
    if interrupted:
        _cancel(transport, id, ctrl_c)
        try:
            transport.request("GET", f"/v1/commands/{id}")
        except RequestError:  # it never arrived
            raise KeyboardInterrupt from None
    if sys.stderr.isatty():
        return _with_bar(transport, id, show_log, ctrl_c)
    with _log(transport, id, show_log, lambda line: print(line, file=sys.stderr, flush=True)):
        return _wait(transport, id, lambda command: None, ctrl_c)


def _with_bar(transport: Transport, id: str, show_log: bool, ctrl_c: CtrlC) -> dict[str, Any]:
    with ProgressBar() as bar, _log(transport, id, show_log, bar.line):
        command = _wait(transport, id, bar.update, ctrl_c)
    for warning in command.get("warnings", ()):
        print(f"warning: {warning}", file=sys.stderr)
    return command


def _wait(transport: Transport, id: str, update: Any, ctrl_c: CtrlC) -> dict[str, Any]:
    lost = False
    pause = 0.005
    while True:
        try:
            with ctrl_c.heard():
                command: dict[str, Any] = transport.request("GET", f"/v1/commands/{id}")
            if command["command_status"] != "RUNNING":
                return command
            update(command)
            lost = False
            with ctrl_c.heard():
                time.sleep(pause)
            pause = min(POLL_S, pause * 1.5)
        except KeyboardInterrupt:
            if ctrl_c.cancelled and not isinstance(transport, LocalTransport):
                raise
            _cancel(transport, id, ctrl_c)
        except (Unreachable, RequestError) as error:  # the agent may be restarting
            if isinstance(error, RequestError) and error.status != RESTARTING:
                raise
            if not lost:
                print(f"agent-router: {error}; the command keeps running, retrying …", file=sys.stderr)
            lost = True
            time.sleep(1)


def _cancel(transport: Transport, id: str, ctrl_c: CtrlC) -> None:
    ctrl_c.cancelled = True
    # Without a server, no one would be left to run the command.
    local = isinstance(transport, LocalTransport)
    again = "waiting for it to end" if local else "Ctrl-C again leaves it running"
    print(f"\ncancelling ({again}) …", file=sys.stderr)
    try:
        with contextlib.nullcontext() if local else ctrl_c.heard():
            transport.request("DELETE", f"/v1/commands/{id}")
    except (RequestError, Unreachable) as error:
        print(f"agent-router: {error}", file=sys.stderr)


@contextlib.contextmanager
def _log(transport: Transport, id: str, wanted: bool, write: Callable[[str], None]) -> Iterator[None]:
    """Write the command's log as it arrives; on exit, the rest of it."""

    def run() -> None:
        for line in transport.lines(f"/v1/commands/{id}/log", follow=True):
            text = line[3:] if line[:1] == "<" and line[2:3] == ">" else line
            if text:
                write(text)

    thread = threading.Thread(target=run, daemon=True)
    if wanted:
        thread.start()
    yield
    if wanted:
        thread.join(LAST_LINES_S)
