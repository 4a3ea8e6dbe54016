"""A runner's place in the state directory: its lock, its sign of life, its socket; what to do when they are gone."""

import contextlib
import fcntl
import os
import signal
import socket

from agent_router.ipc.state import open_file
from agent_router.linux import libc
from agent_router.runner import state_files

LOCK, SOCKET = "/runner.lock", "/runner.sock"
LOCK_FLAGS = os.O_RDWR | os.O_CREAT
BACKLOG = 1024


class Place:
    """Taken when the object is made: until then another runner may be at work here."""

    def __init__(self, state: str, parent: int) -> None:
        self.state = state
        self._beats = 0
        self._socket: tuple[int, int] | None = None
        state_files.make_directory(state + "/c")
        # One that waits goes with its supervisor: it must not take the lock when nobody would note how plugins end.
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        self._go_without(parent)
        self._lock = state_files.open_own(state + LOCK, LOCK_FLAGS)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        libc.prctl(libc.PR_SET_PDEATHSIG, 0)
        self._go_without(parent)
        self.beat()

    def _go_without(self, parent: int) -> None:
        if os.getppid() != parent:
            raise SystemExit(0)

    def beat(self) -> None:
        """Tell the supervisor that this process reacts: `pid count` in the lock file, see watchdog.py."""
        self._beats += 1
        with contextlib.suppress(OSError):
            os.pwrite(self._lock, b"%d %020d\n" % (os.getpid(), self._beats), 0)

    def listen(self) -> socket.socket:
        path, unheard = self.state + SOCKET, self.state + "/runner.new"
        state_files.clear(unheard)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(unheard)
        listener.listen(BACKLOG)
        if os.path.isdir(path):
            state_files.set_aside(path, "a directory")
        # The name appears when somebody listens: between bind() and listen() a client would be refused.
        os.rename(unheard, path)
        self._socket = _identity(path)
        listener.setblocking(False)
        return listener

    def lost(self, **own: int) -> list[str]:
        """Which of our files are no longer in the directory; `own` are further ones, name to descriptor."""
        own["runner.lock"] = self._lock
        lost = [name for name, fd in own.items() if not is_at(f"{self.state}/{name}", fd)]
        if _identity(self.state + SOCKET) != self._socket:
            lost.append("runner.sock")
        return lost if os.path.isdir(self.state + "/c") else [*lost, "c"]

    def restore(self) -> None:
        """The directories and the lock; OSError if that cannot be."""
        os.makedirs(self.state, 0o700, exist_ok=True)
        state_files.make_directory(self.state + "/c")
        if not is_at(self.state + LOCK, self._lock):
            fd = open_file(self.state + LOCK, LOCK_FLAGS)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                raise
            os.close(self._lock)
            self._lock = fd
            self.beat()


def is_at(path: str, fd: int) -> bool:
    info = os.fstat(fd)
    return _identity(path) == (info.st_dev, info.st_ino)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
