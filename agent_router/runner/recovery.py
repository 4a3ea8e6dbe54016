"""After a restart of the runner: what became of the commands that were running.

The journal tells what was started, the supervisor's `orphans` file how children of the dead
runner ended. What neither tells is `outcome_unknown`, never a guess.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agent_router.ipc import reasons
from agent_router.ipc.loop import Loop
from agent_router.ipc.state import open_file
from agent_router.linux import proc
from agent_router.linux.clock import boottime
from agent_router.runner import events, files, leftovers, state_files
from agent_router.runner.command import Command
from agent_router.runner.execution import Execution
from agent_router.runner.history import History
from agent_router.runner.journal import Journal
from agent_router.runner.locks import Locks

PATIENCE_S, RETRY_S = 2.0, 0.005
TICK_S = 0.02  # start times are rounded down to a tick, ours may be a moment late


@dataclass(slots=True)
class Parts:
    """What a runner is made of, as far as its recovery fills it."""

    state: str
    loop: Loop
    journal: Journal
    history: History
    locks: Locks
    execution: Execution
    unjudged: dict[str, Command]


class Note(NamedTuple):
    """How a child of the supervisor ended; times are seconds since boot."""

    pid: int
    status: int
    leader: bool  # of a session, as every plugin is
    born: float
    died: float


class Orphans:
    """The supervisor's notes: `pid status leader born died` a line, appended before it reaps."""

    def __init__(self, state: str) -> None:
        self._path = state + "/orphans"

    def since(self, boot: float) -> Iterator[Note]:
        """The notes made after a moment; older ones are of reused pids."""
        try:
            with open(open_file(self._path), "rb") as file:
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError):  # half a line, of a full disk
                pid, status, leader, born, died = line.split()
                if float(died) >= boot:
                    yield Note(int(pid), int(status), leader == b"1", float(born), float(died))


def recover(runner: Parts) -> None:
    """Bring the table of commands up to date; to be called before the first message."""
    orphans = Orphans(runner.state)
    remembered = runner.history.ids()
    runner.execution.strays.has_ended(remembered)
    commands = runner.journal.replay()
    known = {command.pid for command in commands}
    for command in commands:
        try:
            if command.reason == reasons.STUCK and _is_ours(command):
                _keep_stuck(runner, command)
            if command.id not in remembered:
                _recover_one(runner, command, known, orphans)
        except Exception as error:  # one command that cannot be understood must not keep the agent from the others
            _give_up(runner, command, error)


def _recover_one(runner: Parts, command: Command, known: set[int], orphans: Orphans) -> None:
    base = runner.execution.base(command)
    if command.reason:
        runner.execution.strays.has_ended([command.id])
        _resume(runner, command)
        command.printed = files.read_out(base, command.head["out_limit"])
        if command.reason == reasons.DONE and not os.path.exists(base + "/out"):
            command.reason = reasons.UNKNOWN  # given up on a full disk, before the verdict was kept
        command.pushed = True
        runner.unjudged[command.id] = command
        return
    runner.execution.live[command.id] = command
    runner.locks.take(command)
    if "refused" in command.head:
        command.status = 77
        runner.execution.finish(command, reasons.REFUSED, command.head["refused"])
    elif not command.pid:
        _find_process(runner, command, known, orphans)
    if command.running and command.pid:
        _adopt(runner, command, orphans)


def _give_up(runner: Parts, command: Command, error: Exception) -> None:
    traceback.print_exc()
    why = f"the agent was restarted and cannot make out what became of it ({error})"
    state_files.tell(runner.state, f"command {command.id} ({command.name}): {why}")
    runner.execution.live.pop(command.id, None)
    runner.locks.release(command)
    command.reason, command.message, command.pushed = reasons.UNKNOWN, why, True
    command.ended_at = command.ended_at or time.time()
    runner.unjudged[command.id] = command


def _resume(runner: Parts, command: Command) -> None:
    lost = events.resume(command, runner.execution.base(command))
    if lost:
        what = f"{lost} records in the event stream of command {command.id} could not be read and are dropped"
        state_files.tell(runner.state, what)


def _find_process(runner: Parts, command: Command, known: set[int], orphans: Orphans) -> None:
    """B without P: the runner died between the intent and the note of the pid; at most one such.

    The plugin still works in its directory, or it was started after the intent and has ended.
    """
    base = runner.execution.base(command)
    alive = {pid for pid in leftovers.leaders_in(base + "/cwd") if pid not in known}
    _let_supervisor_reap()
    asked = command.asked_boot - TICK_S
    dead = {note.pid for note in orphans.since(asked) if note.leader and note.born >= asked} - known
    found = alive | dead
    if len(found) == 1:
        command.pid = found.pop()
        runner.journal.started(command)
        command.started_boot = command.asked_boot if dead else command.started_boot
    elif found or (os.path.exists(base) and _supervisor_since() > asked):
        runner.execution.finish(command, reasons.UNKNOWN)  # it may have come and gone while nobody looked
    else:
        runner.execution.finish(command, reasons.NOT_STARTED, "the agent was restarted before it could start it")


def _let_supervisor_reap() -> None:
    """Wait until no child of the supervisor is a zombie: then all that ended is in its notes."""
    give_up = time.monotonic() + PATIENCE_S
    while any(proc.stat_fields(pid)[:1] == [b"Z"] for pid in proc.children(os.getppid())):
        if time.monotonic() > give_up:
            break
        time.sleep(RETRY_S)


def _supervisor_since() -> float:
    """Boot time at which our supervisor was started: of what ended before that there are no notes."""
    return proc.start_ticks(os.getppid()) / proc.TICKS_PER_S


def _adopt(runner: Parts, command: Command, orphans: Orphans) -> None:
    """Watch a plugin of the dead runner like a child; only a pid with the right start time is trusted."""
    command.adopted_until = time.monotonic() + PATIENCE_S
    base = runner.execution.base(command)
    try:
        runner.execution.watch_files(command, *(files.reopen(f"{base}/{name}") for name in ("out", "log", "events")))
    except OSError:
        runner.execution.finish(command, reasons.UNKNOWN)
        return
    _resume(runner, command)
    if command.phase == "cleanup":  # the plugin is over, and nobody watches its cleanup: begin that again
        runner.execution.strays.kill(command)
        runner.execution.arm(command)
        runner.execution.start_cleanup(command, command.ending)
        return
    try:
        if not _is_ours(command):
            raise ProcessLookupError
        command.pidfd = os.pidfd_open(command.pid)
    except OSError:
        _read_status(runner, command.id, orphans)
        return
    reason, command.ending = command.ending, ""
    runner.loop.watch(command.pidfd, lambda _: _gone(runner, command, orphans))
    runner.execution.arm(command)
    runner.execution.set_deadline(command)
    if reason:
        runner.execution.stop(command, reason)


def _keep_stuck(runner: Parts, command: Command) -> None:
    """Its end was reported long ago, but the process still hangs in the kernel: the locks stay taken."""
    command.phase, command.pushed = "stuck", True
    runner.execution.live[command.id] = command
    runner.locks.take(command)
    pidfd = os.pidfd_open(command.pid)

    def gone(_: int) -> None:
        runner.loop.unwatch(pidfd)
        os.close(pidfd)
        runner.execution.finish(command, reasons.STUCK)

    runner.loop.watch(pidfd, gone)


def _is_ours(command: Command) -> bool:
    """A process with this pid that started after our note of it is a stranger with a reused pid."""
    ticks = proc.start_ticks(command.pid)
    return 0 <= ticks <= (command.started_boot + TICK_S) * proc.TICKS_PER_S


def _gone(runner: Parts, command: Command, orphans: Orphans) -> None:
    runner.loop.unwatch(command.pidfd)
    os.close(command.pidfd)
    command.pidfd = -1
    command.adopted_until = time.monotonic() + PATIENCE_S
    _read_status(runner, command.id, orphans)


def _read_status(runner: Parts, id: str, orphans: Orphans) -> None:
    """Take the status from the supervisor's notes; it writes them a moment after the end."""
    command = runner.execution.live.get(id)
    if command is None or not command.running:
        return
    noted = next((note for note in orphans.since(command.started_boot) if note.pid == command.pid), None)
    if noted is not None:
        command.ended_at = time.time() - boottime() + noted.died
        runner.execution.ended_with(command, noted.status)
    elif time.monotonic() > command.adopted_until:
        runner.execution.finish(command, reasons.UNKNOWN)
    else:
        runner.loop.later(RETRY_S, _read_status, runner, id, orphans)


def kept_logs(state: str, busy: set[str]) -> list[tuple[str, int]]:
    """Directories of finished commands whose logs are still there, oldest first."""
    found = []
    for entry in os.scandir(state + "/c"):
        if entry.name not in busy:
            with contextlib.suppress(OSError):
                found.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
    # The dead runner may not have come to closing them, and a request on stdin may hold a secret.
    return [(path, files.size(path)) for _, path in sorted(found) if files.close(path)]
