"""The parent of the runner and of the HTTP front: starts them, starts them again, notes orphans.

A child subreaper: it inherits the plugins of a dead runner and appends "pid status leader born died"
to `orphans` before it reaps, which the next runner reads. It does nothing else, so that it has
no reason to die. Both children are forks, so the interpreter's memory is shared.
"""

import fcntl
import gc
import os
import signal
import sys
import time
from collections.abc import Callable

from agent_router.linux import files, libc, proc
from agent_router.linux.clock import boottime

SHORT_LIFE_S = 0.2
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
Main = Callable[[], None]


class InUse(Exception):
    """The state directory belongs to a running agent."""


class Supervisor:
    def __init__(self, state: str, mains: dict[str, Main]) -> None:
        os.makedirs(state, 0o700, exist_ok=True)
        self._mains = mains
        self._pids: dict[int, str] = {}
        self._born: dict[str, float] = {}
        self._orphans = os.open(state + "/orphans", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._state = state
        self._stopping = False
        self.retired = False  # asked by the front, as a plugin has ended the serving
        self._lock = os.open(state + "/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another agent uses the state directory {state}; end it or give another --state") from None

    def run(self) -> int:
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._retire)
        self._note_pid()
        gc.collect()
        gc.freeze()  # a collection in a child would copy the pages that it shares with this process
        for name in self._mains:
            self._start(name)
        libc.set_title("agent-router: supervisor")
        while self._pids:
            self._wait_for_one()
        return 0

    def _note_pid(self) -> None:
        files.replace(self._state + "/supervisor.pid", f"{os.getpid()}\n")

    def _start(self, name: str) -> None:
        self._born[name] = time.monotonic()
        sys.stdout.flush()
        # A request to stop comes before the fork, and nothing is started, or when the child is known, and it is ended.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        if not self._stopping:
            pid = os.fork()
            if pid == 0:
                self._become(name)
            self._pids[pid] = name
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _become(self, name: str) -> None:
        status = 1
        try:
            os.close(self._orphans)
            os.close(self._lock)
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
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
            os.write(self._orphans, note)  # first write, then reap
        os.waitpid(info.si_pid, 0)
        if name is not None and not self._stopping:
            if time.monotonic() - self._born[name] < SHORT_LIFE_S:
                time.sleep(SHORT_LIFE_S)  # a crash loop stays cheap
            self._start(name)

    def _stop(self, *_: object) -> None:
        """End both children and leave; plugins go on, the next supervisor's runner finds them."""
        self._stopping = True
        for pid in self._pids:
            os.kill(pid, signal.SIGTERM)

    def _retire(self, *_: object) -> None:
        self.retired = True
        self._stop()
