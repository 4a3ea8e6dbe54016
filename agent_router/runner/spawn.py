"""Start one plugin: the only module that makes processes for commands.

Native programs by posix_spawn, Python plugins by a fork of this warm interpreter. Both get a
session of their own, descriptors 0 to 3, a built environment, a private cwd, default signals.
"""

import errno
import os
import signal
import sys
import time
import types
from typing import NoReturn

from agent_router.linux import libc

WARM_SHEBANG = b"#!/usr/bin/env python3"
RESET = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
BUSY_RETRIES, BUSY_PAUSE_S = 5, 0.01

Descriptors = tuple[int, int, int, int]


class NotStarted(Exception):
    """The plugin could not be started; str() says why and what helps."""


class WarmCode:
    """Compiled Python plugins, compiled again when their file changes."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[tuple[int, int, int], types.CodeType | None]] = {}

    def get(self, path: str) -> types.CodeType | None:
        """The code of a Python plugin; None for any other program."""
        info = os.stat(path)
        key = (info.st_ino, info.st_mtime_ns, info.st_size)
        known = self._cache.get(path)
        if known is None or known[0] != key:
            known = self._cache[path] = key, _compile(path)
        return known[1]


def _compile(path: str) -> types.CodeType | None:
    with open(path, "rb") as file:
        if file.readline(64).rstrip() != WARM_SHEBANG:
            return None
        file.seek(0)
        source = file.read()
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None  # a fresh interpreter says it best, in the log


def start(argv: list[str], code: types.CodeType | None, environ: dict[str, str], cwd: str, fds: Descriptors) -> int:
    """Start the program and return its pid; NotStarted if the kernel refuses."""
    try:
        os.chdir(cwd)  # one thread and absolute paths everywhere: the cwd is free to be the plugin's
        return _spawn(argv, environ, fds) if code is None else _fork(argv, code, environ, fds)
    except OSError as error:
        raise NotStarted(_explain(error, argv[0])) from None


def _fork(argv: list[str], code: types.CodeType, environ: dict[str, str], fds: Descriptors) -> int:
    # Before the fork, where memory is not shared yet: each page that the child touches is copied.
    os.environ.clear()
    os.environ.update(environ)
    module = types.ModuleType("__main__")
    module.__file__ = argv[0]
    pid = os.fork()
    if pid == 0:
        _become(argv, code, module, fds)
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


def _become(argv: list[str], code: types.CodeType, module: types.ModuleType, fds: Descriptors) -> NoReturn:
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
        # The id first: it tells whose a stray is, and a long title may be cut.
        libc.set_title(f"{os.environ['AGENT_COMMAND_ID']} {os.path.basename(argv[0])}")
        status = _run(argv, code, module)
    finally:
        os._exit(status & 255)


class _Stdio:
    """Text streams on 0, 1 and 2, made once: a child only takes them, its descriptors lie below them."""

    def __init__(self) -> None:
        kept = [os.dup(number) for number in range(3)]
        blank = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # no terminal and nothing that could be sought in
        for number in range(3):
            os.dup2(blank, number)
        self.streams = (
            open(0, encoding="utf-8", closefd=False),
            open(1, "w", encoding="utf-8", closefd=False),
            open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False),
        )
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
            os.close(fd)
        os.close(blank)


_stdio: _Stdio | None = None


def prepare() -> None:
    """To be called once in the runner, before the first plugin."""
    global _stdio
    _stdio = _Stdio()


def _run(argv: list[str], code: types.CodeType, module: types.ModuleType) -> int:
    assert _stdio is not None
    sys.argv[:] = argv
    sys.path[0:0] = [os.path.dirname(os.path.realpath(argv[0]))]
    sys.stdin, sys.stdout, sys.stderr = _stdio.streams
    sys.modules["__main__"] = module
    status = 0
    try:
        exec(code, module.__dict__)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        status = 1  # first: with a broken stderr the printing fails too
        import traceback

        traceback.print_exc()
    if "threading" in sys.modules:  # wait for the plugin's threads, as the end of an interpreter does
        sys.modules["threading"]._shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or 1
    return status
