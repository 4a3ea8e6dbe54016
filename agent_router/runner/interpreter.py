"""The life of a Python plugin in a fork of the warm interpreter: from its first line to its end as under python3.

What python3 does around a script is done here too, in the same order: its signals, its streams, its path; at the
end the uncaught exception, threads, functions of atexit, what the objects of its modules do when they go, the streams.
"""

import atexit
import builtins
import contextlib
import gc
import locale
import os
import signal
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, TextIO

STDIO_FAILED = 120  # the exit status of python3 when it cannot write out its streams


Streams = tuple[TextIO, TextIO, TextIO]


class _Stdio:
    """Text streams on 0, 1 and 2, made once: a child only takes them, its descriptors lie below them."""

    def __init__(self) -> None:
        kept = [os.dup(number) for number in range(3)]
        blank = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # no terminal and nothing that could be sought in
        for number in range(3):
            os.dup2(blank, number)
        # As Python makes them where LANG is C.UTF-8.
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "closefd": False}
        self.streams: Streams = (
            open(0, **text),
            open(1, "w", **text),
            open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False),
        )
        for stream, name in zip(self.streams, ("<stdin>", "<stdout>", "<stderr>"), strict=True):
            stream.buffer.raw.name = name  # type: ignore[attr-defined]
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
            os.close(fd)
        os.close(blank)


_stdio: _Stdio | None = None
_modules: frozenset[str] = frozenset()


def prepare() -> None:
    """To be called once in the runner, before the first plugin."""
    global _stdio, _modules
    for name in ("C.UTF-8", "C.utf8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)  # what open() without an encoding takes
            break
        except locale.Error:
            continue
    _stdio = _Stdio()
    sys.path[:] = _script_path()
    _modules = frozenset(sys.modules)


def _script_path() -> list[str]:
    """sys.path of a script, without the directory of the script itself and without PYTHONPATH, which plugins lack."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    first = 0 if getattr(sys.flags, "safe_path", False) else 1
    return [path for path in sys.path[first:] if path not in given]


def run(argv: list[str], code: types.CodeType) -> int:
    """Run the plugin to its end and return its exit status; a KeyboardInterrupt ends by the signal."""
    assert _stdio is not None
    sys.argv[:] = argv
    sys.orig_argv[:] = [sys.executable, *argv]
    sys.path.insert(0, os.path.dirname(os.path.realpath(argv[0])))
    sys.stdin, sys.stdout, sys.stderr = _stdio.streams
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = _stdio.streams  # type: ignore[misc,assignment]
    # A closed pipe and a file that is too large are exceptions, and so is SIGINT.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module = types.ModuleType("__main__")
    module.__file__ = argv[0]
    vars(module).update({"__builtins__": builtins, "__cached__": None, "__annotations__": {}})
    sys.modules["__main__"] = module
    status = _call(code, module)
    del module
    if not _end(_stdio.streams):
        status = STDIO_FAILED
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def _call(code: types.CodeType, module: types.ModuleType) -> int:
    try:
        exec(code, module.__dict__)
    except SystemExit as error:
        return _status_of(error.code)
    except BaseException as error:
        _show(error)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _status_of(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code if -(1 << 63) <= code < 1 << 63 else -1
    _try(print, code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """By the hook, as the interpreter does; without our own part of the traceback."""
    trace = error.__traceback__
    error.__traceback__ = trace.tb_next if trace is not None else None
    hook: Any = sys.excepthook
    try:
        hook(type(error), error, error.__traceback__)
    except SystemExit:
        return
    except BaseException as failure:
        _try(print, "Error in sys.excepthook:", file=sys.stderr)
        _try(sys.__excepthook__, type(failure), failure, failure.__traceback__)
        _try(print, "\nOriginal exception was:", file=sys.stderr)
        _try(sys.__excepthook__, type(error), error, error.__traceback__)


def _try(function: Callable[..., object], *args: object, **options: object) -> None:
    with contextlib.suppress(BaseException):  # with a broken stderr nothing can be said
        function(*args, **options)


def _end(streams: Streams) -> bool:
    """What Py_FinalizeEx does before the interpreter itself is taken apart; whether all output was written."""
    if "threading" in sys.modules:
        _try(sys.modules["threading"]._shutdown)
    _try(atexit._run_exitfuncs)
    written = _flushed(sys.stdout), _flushed(sys.stderr)
    sys.stdin, sys.stdout, sys.stderr = streams
    _forget_modules()
    return all((*written, _flushed(streams[1]), _flushed(streams[2])))


def _forget_modules() -> None:
    """Objects go with the names that hold them: files are written out, `__del__` is called.

    First the modules, then what holds itself, then the names in modules that somebody still holds. What the runner
    had imported stays: it is frozen, and taking it apart would copy its memory.
    """
    new = [name for name in sys.modules if name not in _modules or name == "__main__"]
    modules = [sys.modules.pop(name) for name in new]
    held = [weakref.ref(module) for module in modules if isinstance(module, types.ModuleType)]
    del modules
    sys.last_traceback = sys.last_value = sys.last_type = None
    gc.collect()
    for reference in reversed(held):
        module = reference()
        if module is not None:
            names = module.__dict__
            for name in sorted(names, key=lambda name: not name.startswith("_") or name[1:2] == "_"):
                if name != "__builtins__":
                    names[name] = None
    gc.collect()


def _flushed(stream: Any) -> bool:
    if stream is None or getattr(stream, "closed", False):
        return True
    try:
        stream.flush()
    except BaseException as error:
        text = f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}"
        _try(print, text, file=sys.stderr)
        return False
    return True
