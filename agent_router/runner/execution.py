"""The life of a command's process: start, limits, stop, end.

Order at the end, which makes a death of the runner harmless at every point: look at the exit
with WNOWAIT, write it to the journal, end what is left of the session, reap.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable

from agent_router.ipc import reasons
from agent_router.ipc.loop import Loop
from agent_router.ipc.state import open_file
from agent_router.linux import libc
from agent_router.linux.clock import boottime
from agent_router.runner import events, files, leftovers, spawn
from agent_router.runner.command import Command
from agent_router.runner.emptied import Guard
from agent_router.runner.journal import Journal
from agent_router.runner.warm_code import WarmCode
from agent_router.runner.written import Written

FIRST_LOOK_S = 0.001  # most plugins are over by then and never cost a watch
STUCK_AFTER_S = 5.0
CLEANUP_S = 60.0
WAITS = "waits_for_critical_section"
EMPTIED = "some of its {0} is lost: it was opened anew with > (such as >/dev/{1}), which empties it; write to >&{2}"
OOM_SCORE_ADJ = b"500"  # the kernel takes a plugin before it takes the agent


class Execution:
    """Runs the commands of one runner. `ended` is called once for each, when all of it is over."""

    def __init__(
        self, loop: Loop, journal: Journal, state: str, environ: dict[str, str], ended: Callable[[Command], None]
    ) -> None:
        self.loop, self.journal, self.state = loop, journal, state
        self._environ = environ
        self.live: dict[str, Command] = {}
        self._ended = ended
        self._warm = WarmCode()
        self._inotify = libc.Inotify()
        self._watched: dict[int, Command] = {}
        self.strays = leftovers.Sweeper(loop, state, self.live)
        loop.watch(self._inotify.fd, self._written)
        self._guard = Guard(loop, self.look)

    def base(self, command: Command) -> str:
        return f"{self.state}/c/{command.id}"

    # ---- start

    def start(self, command: Command, body: bytes) -> None:
        """Start the plugin; a command that cannot be started ends at once with the reason."""
        head = command.head
        base = self.base(command)
        self.live[command.id] = command
        try:
            fds = files.create(base, body, head.get("secrets", 0), head.get("stdin", ""))
        except OSError as error:
            return self.finish(command, reasons.NOT_STARTED, f"cannot write to the state directory: {error}")
        self.watch_files(command, *fds[1:])
        try:
            command.pid = self._spawn(command, fds, "run")
        except spawn.NotStarted as error:
            return self.finish(command, reasons.NOT_STARTED, str(error))
        finally:
            os.close(fds[0])
        self.journal.started(command)
        command.pidfd = os.pidfd_open(command.pid)
        self.loop.watch(command.pidfd, lambda _: self._exited(command))
        self.loop.later(FIRST_LOOK_S, self._first_look, command.id)

    def _spawn(self, command: Command, fds: spawn.Descriptors, action: str) -> int:
        head, base = command.head, self.base(command)
        environ: dict[str, str] = {
            **self._environ,
            "AGENT_METHOD": command.name,
            "AGENT_COMMAND_ID": command.id,
            "HOME": base + "/cwd",
            "AGENT_ACTION": head.get("action", "run") if action == "run" else action,
            **head["params"],
        }
        if action == "run":
            environ["AGENT_DEADLINE"] = str(int(command.started_at + head["timeout_s"]))
        argv = head["argv"]
        try:
            code = None if head.get("exec") else self._warm.get(argv[0])
        except OSError as error:
            raise spawn.NotStarted(f"{argv[0]}: {error.strerror}") from None
        self.strays.marks.put_on(command.id)
        try:
            return spawn.start(argv, code, environ, base + "/cwd", fds)
        finally:
            self.strays.marks.take_off()

    def watch_files(self, command: Command, out: int, log: int, events: int) -> None:
        base, head = self.base(command), command.head
        command.out = Written(base, "out", out, head["out_limit"])
        command.log = Written(base, "log", log, head["log_limit"])
        command.events = events
        self._guard.add(command)

    def housekeeping(self) -> None:
        """To be called every few seconds."""
        self.strays.look()

    def _first_look(self, id: str) -> None:
        command = self.live.get(id)
        if command is None or not command.running:
            return
        self.arm(command)
        with contextlib.suppress(OSError), open(f"/proc/{command.pid}/oom_score_adj", "wb", 0) as file:
            file.write(OOM_SCORE_ADJ)
        self.set_deadline(command)

    def set_deadline(self, command: Command) -> None:
        # Counted on the boot clock: setting the time in a ramdisk must not end a plugin.
        left = command.started_boot + command.head["timeout_s"] - boottime()
        command.deadline = self.loop.later(max(0.0, left), self._deadline, command.id)

    # ---- watch

    def arm(self, command: Command) -> None:
        """Hear of each write to the command's files from now on."""
        self.look(command)
        command.watch = self._inotify.add(self.base(command))
        if command.watch >= 0:
            self._watched[command.watch] = command
        self.look(command)

    def _written(self, _: int) -> None:
        for watch in self._inotify.read():
            command = self._watched.get(watch)
            if command is not None:
                self.look(command)

    def look(self, command: Command) -> None:
        """Take in what the plugin has written."""
        if command.out is None or command.log is None:
            return
        if events.read(command, self.base(command)) and command.ending and command.phase == "running":
            self._terminate(command)  # it was asked to stop inside its critical section
        if command.out.is_over():
            self._over(command, reasons.OUTPUT_LIMIT, command.out)
        if command.log.is_over():
            self._over(command, reasons.LOG_LIMIT, command.log)

    def _over(self, command: Command, reason: str, written: Written) -> None:
        if command.critical or command.phase == "cleanup":  # what talks too much is not killed half way
            written.discard()
            return
        if command.phase in ("running", "terminating"):
            command.ending = command.ending or reason
            self._kill(command)

    def _deadline(self, id: str) -> None:
        command = self.live.get(id)
        if command is not None and command.running:
            self.stop(command, reasons.TIMEOUT)

    # ---- stop

    def stop(self, command: Command, reason: str) -> None:
        """SIGTERM, then grace_s, then SIGKILL; inside a critical section it waits for its end."""
        self.look(command)  # the section may have begun a moment ago
        if command.ending:
            return
        command.ending = reason
        if command.critical:
            events.say(command, self.base(command), "state", {"state": WAITS, "reason": reason})
            return
        self._terminate(command)

    def _terminate(self, command: Command) -> None:
        self._phase(command, "terminating")
        self._signal(command, signal.SIGTERM)
        self.loop.later(command.head["grace_s"], self._grace_over, command.id)

    def _grace_over(self, id: str) -> None:
        command = self.live.get(id)
        if command is not None and command.running and command.phase == "terminating":
            self._kill(command)

    def _kill(self, command: Command) -> None:
        # The signal comes first: a flood goes on until it is there.
        self._signal(command, signal.SIGKILL)
        self._phase(command, "killing")
        self.loop.later(STUCK_AFTER_S, self._stuck, command.id)

    def _stuck(self, id: str) -> None:
        command = self.live.get(id)
        if command is None or not command.running or command.phase != "killing":
            return
        self._phase(command, "stuck")
        command.reason = reasons.STUCK  # reported as failed now; locks and process stay until it is gone
        command.ended_at = time.time()
        self.journal.ended(command)
        self._ended(command)

    def _signal(self, command: Command, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            os.killpg(command.pid, number)
        if number == signal.SIGKILL:
            self.strays.kill(command)

    def _phase(self, command: Command, phase: str) -> None:
        command.phase = phase
        events.say(command, self.base(command), "state", {"state": phase, "reason": command.ending})

    # ---- end

    def _exited(self, command: Command) -> None:
        """The pidfd is readable: the plugin is a zombie, ours or (after a restart) the supervisor's."""
        pid = command.pid
        try:
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return
        if info is None:  # a stale event, see loop
            return
        status = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        self.ended_with(command, status)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def ended_with(self, command: Command, status: int) -> None:
        """The process is over; decide why, clean up if the plugin wants it, and finish."""
        command.status = status
        self._look_last(command)
        reason = command.ending or reasons.DONE
        if reason in (reasons.CANCELLED, reasons.TIMEOUT) and status == 0:
            command.warnings.append(f"asked to stop ({reason}) but it had finished its work")
            reason = reasons.DONE
        with contextlib.suppress(OSError):
            os.killpg(command.pid, signal.SIGKILL)
        if command.pidfd >= 0:
            self.loop.unwatch(command.pidfd)
            os.close(command.pidfd)
            command.pidfd = -1
        if reason != reasons.DONE and command.head.get("cleanup") and command.phase != "stuck":
            self.start_cleanup(command, reason)
        else:
            self.finish(command, reason)

    def _look_last(self, command: Command) -> None:
        if command.events >= 0 and (command.watch >= 0 or os.fstat(command.events).st_size):
            events.read(command, self.base(command), last=True)
        if command.out is not None and command.out.is_over() and not command.ending:
            command.ending = reasons.OUTPUT_LIMIT
        if command.log is not None and command.log.is_over() and not command.ending:
            command.ending = reasons.LOG_LIMIT

    def finish(self, command: Command, reason: str, message: str = "") -> None:
        """Journal the end, release what the process held, hand the command on."""
        was_stuck = command.reason == reasons.STUCK
        command.message = message
        self.loop.cancel(command.deadline)
        self._unwatch(command)
        self._close_files(command)
        if not was_stuck:
            command.reason = reason
            command.ended_at = command.ended_at or time.time()
            self.journal.ended(command)
        del self.live[command.id]
        self.strays.kill(command)
        left = files.leave(self.base(command))
        if left:
            command.warnings.append(
                f"it left a file system mounted on {left[0][:1000]}, which was unmounted at its end"
            )
        self._ended(command)

    def _close_files(self, command: Command) -> None:
        if command.out is None or command.log is None:  # they were never opened
            command.printed = files.read_out(self.base(command), command.head["out_limit"])
            return
        self._guard.remove(command)
        command.printed = command.out.close()
        command.log.close()
        os.close(command.events)
        if command.out.lost:
            command.warnings.append(EMPTIED.format("standard output", "stdout", 1))
        if command.log.lost:
            command.warnings.append(EMPTIED.format("log", "stderr", 2))
        command.out = command.log = None
        command.events = -1

    def _unwatch(self, command: Command) -> None:
        if command.watch >= 0:
            self._watched.pop(command.watch, None)
            self._inotify.remove(command.watch)
            command.watch = -1

    # ---- the cleanup action

    def start_cleanup(self, command: Command, reason: str) -> None:
        """Call the plugin once more, after it was killed for `reason`."""
        self._phase(command, "cleanup")
        command.ending = reason
        base = self.base(command)
        try:
            with open(open_file(base + "/stdin"), "rb") as stdin, open(os.devnull, "r+b") as out:
                log = command.log.fd if command.log is not None else out.fileno()
                pid = self._spawn(command, (stdin.fileno(), out.fileno(), log, command.events), "cleanup")
        except (spawn.NotStarted, OSError) as error:
            command.warnings.append(f"the cleanup could not be started: {error}")
            return self.finish(command, reason)
        command.pid = pid
        pidfd = os.pidfd_open(pid)
        self.loop.watch(pidfd, lambda _: self._cleaned(command, pid, pidfd, reason))
        self.loop.later(CLEANUP_S, self._end_cleanup, command.id, pid)

    def _end_cleanup(self, id: str, pid: int) -> None:
        command = self.live.get(id)
        if command is not None and command.phase == "cleanup" and command.pid == pid:
            command.warnings.append(f"the cleanup was killed after {CLEANUP_S:.0f} s")
            os.killpg(pid, signal.SIGKILL)

    def _cleaned(self, command: Command, pid: int, pidfd: int, reason: str) -> None:
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done or command.phase != "cleanup":
            return
        self.loop.unwatch(pidfd)
        os.close(pidfd)
        if status:
            command.warnings.append(f"the cleanup ended with {os.waitstatus_to_exitcode(status)}")
        self._look_last(command)
        command.phase = "cleaned"
        self.finish(command, reason)
