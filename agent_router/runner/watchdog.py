"""Notices a runner that does not react any more, and ends it: plugins go on, the next runner adopts them.

Called by the supervisor every now and then. The runner counts in its lock file; a count that stands
still for ROUNDS calls in a row is no matter of clocks, which stop and jump with the machine.
"""

import contextlib
import os
import signal

from agent_router.ipc.state import open_file
from agent_router.linux import proc
from agent_router.runner.place import LOCK

ROUND_S, ROUNDS = 4.0, 5


class Watchdog:
    def __init__(self, state: str) -> None:
        self._path = state + LOCK
        self._seen = b""
        self._same = 0

    def look(self) -> None:
        text = self._read()
        self._same = self._same + 1 if text and text == self._seen else 0
        self._seen = text
        if self._same >= ROUNDS:
            self._same = 0
            pid = self.runner()
            if pid:
                since = f"has not reacted for {ROUND_S * ROUNDS:.0f} s"
                print(f"<3>the runner (pid {pid}) {since} and is started again; commands go on", flush=True)
                os.kill(pid, signal.SIGKILL)

    def runner(self) -> int:
        """The runner of this state directory, also one that an earlier supervisor started; 0 if there is none."""
        try:
            pid = int(self._read().split()[0])
        except (ValueError, IndexError):
            return 0
        # A plugin can write to that file: no other process of the machine must be taken for it.
        return pid if proc.title(pid).startswith(b"agent-router: runner") else 0

    def _read(self) -> bytes:
        with contextlib.suppress(OSError):
            fd = open_file(self._path)
            try:
                return os.pread(fd, 64, 0)
            finally:
                os.close(fd)
        return b""
