"""After a restart of the runner: what became of the commands that were running.

The journal tells what was started, the supervisor's `orphans` file how children of the dead
runner ended. What neither tells is `outcome_unknown`, never a guess.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from agent_router.runner import command as why
from agent_router.runner import files, strays
from agent_router.runner.clock import boottime
from agent_router.runner.command import Command

if TYPE_CHECKING:
    from agent_router.runner.service import Runner

PATIENCE_S, RETRY_S, CLOCK_SLACK_S = 2.0, 0.005, 1.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Orphans:
    """The supervisor's notes: `pid status is_session_leader boottime` a line, appended before it reaps."""

    def __init__(self, state: str) -> None:
        self._path = state + "/orphans"

    def since(self, boot: float) -> dict[int, tuple[int, bool]]:
        """pid: (status, leader) of the notes made after a moment; older ones are of reused pids."""
        try:
            with open(self._path, "rb") as file:
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return {}
        notes = [line.split() for line in lines]
        return {
            int(pid): (int(status), leader == b"1") for pid, status, leader, at in notes if float(at) >= boot
        }


def recover(runner: Runner) -> None:
    """Bring the table of commands up to date; to be called before the first message."""
    orphans = Orphans(runner.state)
    remembered = runner.history.ids()
    commands = [command for command in runner.journal.replay() if command.id not in remembered]
    known = {command.pid for command in commands}
    for command in commands:
        command.ended_at = time.time()
        if command.reason:
            command.printed = files.read_out(runner.execution.base(command), -1, command.head["out_limit"])
            command.pushed = True
            runner.unjudged[command.id] = command
            continue
        runner.execution.live[command.id] = command
        runner.locks.take(command)
        if "refused" in command.head:
            command.status = 77
            runner.execution.finish(command, why.REFUSED, command.head["refused"])
        elif not command.pid:
            _find_process(runner, command, known, orphans)
        if command.running and command.pid:
            _adopt(runner, command, orphans)


def _find_process(runner: Runner, command: Command, known: set[int], orphans: Orphans) -> None:
    """B without P: the runner died between the intent and the note of the pid; at most one such."""
    cwd = runner.execution.base(command) + "/cwd"
    alive = [
        pid
        for pid in (*strays.children(os.getppid()), *strays.children(1))
        if pid not in known and pid != os.getpid() and _cwd(pid) == cwd
    ]
    asked_boot = command.started_at - time.time() + boottime()
    notes = orphans.since(asked_boot - CLOCK_SLACK_S)
    dead = [pid for pid, (_, leader) in notes.items() if leader and pid not in known]
    if len(alive) + len(dead) == 1:
        command.pid = (alive + dead)[0]
        runner.journal.started(command)
        command.started_boot = asked_boot - CLOCK_SLACK_S if dead else command.started_boot
    elif not alive and not dead:
        runner.execution.finish(command, why.NOT_STARTED, "the agent was restarted before it could start it")
    else:
        runner.execution.finish(command, why.UNKNOWN)


def _adopt(runner: Runner, command: Command, orphans: Orphans) -> None:
    """Watch a plugin of the dead runner like a child; only a pid with the right start time is trusted."""
    command.adopted_until = time.monotonic() + PATIENCE_S
    base = runner.execution.base(command)
    try:
        command.out, command.log, command.events = (
            os.open(f"{base}/{name}", files.OPEN, 0o600) for name in ("out", "log", "events")
        )
    except OSError:
        runner.execution.finish(command, why.UNKNOWN)
        return
    try:
        if not _is_ours(command):
            raise ProcessLookupError
        command.pidfd = os.pidfd_open(command.pid)
    except OSError:
        _read_status(runner, command.id, orphans)
        return
    runner.loop.watch(command.pidfd, lambda _: _gone(runner, command, orphans))
    runner.execution.arm(command)
    runner.execution.set_deadline(command)


def _is_ours(command: Command) -> bool:
    """A process with this pid that started after our note of it is a stranger with a reused pid."""
    ticks = strays.start_ticks(command.pid)
    return 0 <= ticks <= (command.started_boot + 0.02) * TICKS_PER_S


def _gone(runner: Runner, command: Command, orphans: Orphans) -> None:
    runner.loop.unwatch(command.pidfd)
    os.close(command.pidfd)
    command.pidfd = -1
    command.adopted_until = time.monotonic() + PATIENCE_S
    _read_status(runner, command.id, orphans)


def _read_status(runner: Runner, id: str, orphans: Orphans) -> None:
    """Take the status from the supervisor's notes; it writes them a moment after the end."""
    command = runner.execution.live.get(id)
    if command is None or not command.running:
        return
    noted = orphans.since(command.started_boot).get(command.pid)
    if noted is not None:
        runner.execution.ended_with(command, noted[0])
    elif time.monotonic() > command.adopted_until:
        runner.execution.finish(command, why.UNKNOWN)
    else:
        runner.loop.later(RETRY_S, _read_status, runner, id, orphans)


def _cwd(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def kept_logs(state: str, busy: set[str]) -> list[tuple[str, int]]:
    """Directories of finished commands whose logs are still there, oldest first."""
    found = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(state + "/c") if entry.name not in busy]
    return [(path, files.size(path)) for _, path in sorted(found)]
