"""Start one plugin: the only module that makes processes for commands.

Native programs by posix_spawn, Python plugins by a fork of this warm interpreter. Both get a
session of their own, descriptors 0 to 3, a built environment, a private cwd, default signals.
"""

import errno
import os
import signal
import time
import types
from typing import NoReturn

from agent_router.linux import libc
from agent_router.runner import interpreter

RESET = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
BUSY_RETRIES, BUSY_PAUSE_S = 5, 0.01

Descriptors = tuple[int, int, int, int]


class NotStarted(Exception):
    """The plugin could not be started; str() says why and what helps."""


def start(argv: list[str], code: types.CodeType | None, environ: dict[str, str], cwd: str, fds: Descriptors) -> int:
    """Start the program and return its pid; NotStarted if the kernel refuses."""
    try:
        os.chdir(cwd)  # one thread and absolute paths everywhere: the cwd is free to be the plugin's
        return _spawn(argv, environ, fds) if code is None else _fork(argv, code, environ, fds)
    except OSError as error:
        raise NotStarted(_explain(error, argv[0])) from None
    except (ValueError, MemoryError) as error:  # a null byte, half a surrogate pair
        raise NotStarted(f"{argv[0]}: {error}") from None


def _fork(argv: list[str], code: types.CodeType, environ: dict[str, str], fds: Descriptors) -> int:
    pid = os.fork()
    if pid == 0:
        _become(argv, code, environ, fds)
    return pid


def _spawn(argv: list[str], environ: dict[str, str], fds: Descriptors) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
    for _ in range(BUSY_RETRIES):
        try:
            return os.posix_spawn(
                argv[0], argv, environ, file_actions=actions, setsid=True, setsigmask=(), setsigdef=RESET
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            time.sleep(BUSY_PAUSE_S)  # still being copied in by somebody
    raise NotStarted(f"{argv[0]} is still open for writing (text file busy); finish copying it, then try again")


def _explain(error: OSError, path: str) -> str:
    if error.errno == errno.ENOENT and os.path.exists(path):
        return f"the interpreter in the first line of {path} is not installed"
    if error.errno == errno.ENOEXEC:
        return f"{path} is neither a program of this machine nor a script with a #! line"
    if error.errno == errno.E2BIG:
        return "the request makes arguments larger than the kernel allows"
    return f"{path}: {error.strerror}"


def _become(argv: list[str], code: types.CodeType, environ: dict[str, str], fds: Descriptors) -> NoReturn:
    """In the forked child: become the plugin. Never returns into the runner's code."""
    status = 120
    try:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        os.closerange(4, 1 << 20)  # first of all: the runner's lock and sockets
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in RESET:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Here and not before the fork: putenv(3) never gives back the memory of a value.
        os.environ.clear()
        os.environ.update(environ)
        # The id first: it tells whose a stray is, and a long title may be cut.
        libc.set_title(f"{environ['AGENT_COMMAND_ID']} {os.path.basename(argv[0])}")
        status = interpreter.run(argv, code)
    finally:
        os._exit(status & 255)
