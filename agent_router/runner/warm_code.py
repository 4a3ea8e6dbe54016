"""Compiled Python plugins, kept until their file changes.

A child compiles, because some sources take a compiler along (deep ones overflow its stack) or keep it busy. What the
child cannot do is left to a fresh python3, which says it best, in the log of the command.
"""

import marshal
import os
import select
import signal
import stat
import types
import warnings

WARM_SHEBANG = b"#!/usr/bin/env python3"
MAX_SOURCE = 1 << 20  # a larger one takes longer to compile than an interpreter takes to start
COMPILE_S = 5.0


class WarmCode:
    def __init__(self) -> None:
        self._cache: dict[str, tuple[tuple[int, int, int], types.CodeType | None]] = {}

    def get(self, path: str) -> types.CodeType | None:
        """The code of a Python plugin; None for any other program. OSError if the file cannot be read."""
        info = os.stat(path)
        key = (info.st_ino, info.st_mtime_ns, info.st_size)
        known = self._cache.get(path)
        if known is None or known[0] != key:
            known = self._cache[path] = key, _compile(path)
        return known[1]


def _compile(path: str) -> types.CodeType | None:
    source = _source(path)
    if source is None:
        return None
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _send_code(writer, source, path)
    os.close(writer)
    try:
        return _load(_receive(reader))
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _source(path: str) -> bytes | None:
    """The text of a plugin that runs warm."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for somebody to write
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or file.readline(64).rstrip() != WARM_SHEBANG:
            return None
        file.seek(0)
        source = file.read(MAX_SOURCE + 1)
    return source if len(source) <= MAX_SOURCE else None


def _send_code(writer: int, source: bytes, path: str) -> None:
    try:
        signal.alarm(int(COMPILE_S) + 1)  # in case that the runner dies meanwhile
        writer = os.dup2(writer, 4)
        os.closerange(5, 1 << 20)  # the runner's lock among them
        # A warning belongs into the log of each command, where a fresh interpreter puts it.
        warnings.simplefilter("error", SyntaxWarning)
        code = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
        with open(writer, "wb", closefd=False) as file:
            file.write(code)
    finally:
        os._exit(0)


def _receive(reader: int) -> bytes:
    """What the child sends, if it does so in time."""
    ready = select.poll()
    ready.register(reader, select.POLLIN)
    data = b""
    while ready.poll(COMPILE_S * 1000):
        part = os.read(reader, 1 << 20)
        if not part:
            return data
        data += part
    return b""


def _load(data: bytes) -> types.CodeType | None:
    try:
        code = marshal.loads(data)
    except (EOFError, ValueError, TypeError):
        return None
    return code if isinstance(code, types.CodeType) else None
