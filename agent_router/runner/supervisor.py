"""The parent of the runner and of the HTTP front: starts them, starts them again, notes orphans.

A child subreaper: it inherits the plugins of a dead runner and appends "pid status leader born died"
to `orphans` before it reaps, which the next runner reads. It watches that the runner reacts
(watchdog.py) and does nothing else, so that it has no reason to die. Both children are forks, so the
interpreter's memory is shared.
"""

import contextlib
import fcntl
import gc
import os
import signal
import sys
import time
from collections.abc import Callable

from agent_router.linux import files, libc, proc
from agent_router.linux.clock import boottime
from agent_router.runner import state_files
from agent_router.runner.place import is_at
from agent_router.runner.watchdog import ROUND_S, Watchdog

SHORT_LIFE_S = 0.2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM)
LOCK = "/supervisor.lock"
Main = Callable[[], None]


class InUse(Exception):
    """The state directory belongs to a running agent."""


class Supervisor:
    def __init__(self, state: str, mains: dict[str, Main]) -> None:
        state_files.make_directory(state)
        self._mains = mains
        self._pids: dict[int, str] = {}
        self._born: dict[str, float] = {}
        self._orphans = state_files.open_own(state + "/orphans")
        self._state = state
        self._stopping = False
        self.retired = False  # asked by the front, as a plugin has ended the serving
        self._watchdog = Watchdog(state)
        self._lock = state_files.open_own(state + LOCK)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another agent uses the state directory {state}; end it or give another --state") from None

    def run(self) -> int:
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._retire)
        signal.signal(signal.SIGALRM, self._look)
        self._note_pid()
        gc.collect()
        gc.freeze()  # a collection in a child would copy the pages that it shares with this process
        for name in self._mains:
            self._start(name)
        libc.set_title("agent-router: supervisor")
        signal.setitimer(signal.ITIMER_REAL, ROUND_S, ROUND_S)
        while self._pids:
            self._wait_for_one()
        signal.setitimer(signal.ITIMER_REAL, 0)
        return 0

    def _note_pid(self) -> None:
        files.replace(self._state + "/supervisor.pid", f"{os.getpid()}\n")

    def _start(self, name: str) -> None:
        self._born[name] = time.monotonic()
        sys.stdout.flush()
        # A request to stop comes before the fork, and nothing is started, or when the child is known, and it is ended.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if not self._stopping:
            pid = os.fork()
            if pid == 0:
                self._become(name)
            self._pids[pid] = name
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _become(self, name: str) -> None:
        status = 1
        try:
            os.close(self._orphans)
            os.close(self._lock)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            libc.set_title(f"agent-router: {name}")
            self._mains[name]()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _wait_for_one(self) -> None:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if info is None:
            return
        name = self._pids.pop(info.si_pid, None)
        if name is None:
            status = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
            leader = proc.stat_fields(info.si_pid)[3:4] == [str(info.si_pid).encode()]
            born = proc.start_ticks(info.si_pid) / proc.TICKS_PER_S
            note = b"%d %d %d %.2f %.3f\n" % (info.si_pid, status, leader, born, boottime())
            self._note(note)  # first write, then reap
        os.waitpid(info.si_pid, 0)
        if name is not None and not self._stopping:
            if time.monotonic() - self._born[name] < SHORT_LIFE_S:
                time.sleep(SHORT_LIFE_S)  # a crash loop stays cheap
            self._start(name)

    def _note(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full state directory must not end this process
            if not is_at(self._state + "/orphans", self._orphans):
                os.close(self._orphans)
                self._orphans = state_files.open_own(self._state + "/orphans")
            size = os.fstat(self._orphans).st_size
            if os.write(self._orphans, line) != len(line):
                os.ftruncate(self._orphans, size)

    def _look(self, *_: object) -> None:
        """Every ROUND_S: the runner must react, and the lock keep others away."""
        if self._stopping:
            return
        self._watchdog.look()
        with contextlib.suppress(OSError):
            if not is_at(self._state + LOCK, self._lock):  # the state directory was emptied
                new = state_files.open_own(self._state + LOCK)
                fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.close(self._lock)
                self._lock = new
                self._note_pid()

    def _stop(self, *_: object) -> None:
        """End both children and leave; plugins go on, the next supervisor's runner finds them.

        The runner of an earlier supervisor, which is no child, goes too.
        """
        self._stopping = True
        for pid in {*self._pids, self._watchdog.runner()} - {0}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGCONT)  # to one that is stopped, too

    def _retire(self, *_: object) -> None:
        self.retired = True
        self._stop()
