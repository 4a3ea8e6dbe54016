"""The directory of one command on tmpfs: stdin, out, log and events as files, a private cwd.

Files, not pipes: the plugin never talks to this process, so nothing it does can fail because
this process is gone.
"""

import contextlib
import json
import os
import stat

from agent_router.ipc.state import open_file
from agent_router.linux import mounts, trees

OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def create(base: str, body: bytes, secrets: int, stdin: str = "") -> tuple[int, int, int, int]:
    """Make the directory; returns the descriptors for stdin, stdout, stderr and events.

    The first `secrets` bytes of `body` are a JSON list of what to mask, the rest is the request; a large one is in
    the file `stdin`, which is moved here.
    """
    os.mkdir(base, 0o700)
    os.mkdir(base + "/cwd", 0o700)
    opened: list[int] = []
    try:
        if stdin:
            os.rename(stdin, base + "/stdin")
        opened.append(os.open(base + "/stdin", OPEN, 0o600))
        request = body[secrets:]
        if request and os.write(opened[0], request) != len(request):
            raise OSError("the state directory is full")
        os.lseek(opened[0], 0, os.SEEK_SET)
        opened += (os.open(base + name, OPEN, 0o600) for name in ("/out", "/log", "/events"))
        if secrets:
            with open(base + "/secrets", "wb") as file:
                file.write(body[:secrets])
    except OSError:
        for fd in opened:
            os.close(fd)
        trees.remove(base)
        raise
    return opened[0], opened[1], opened[2], opened[3]


def secrets(base: str) -> list[str]:
    """What is to be masked, as create() was told."""
    try:
        with open(open_file(base + "/secrets"), "rb") as file:
            found: list[str] = json.load(file)
            return found
    except (OSError, ValueError):
        return []


def read_out(base: str, limit: int) -> bytes:
    """What the plugin of an earlier runner printed, `limit` bytes at the most."""
    try:
        with open(open_file(base + "/out"), "rb") as file:
            return file.read(limit)
    except OSError:
        return b""


def beginning(fd: int, limit: int) -> bytes:
    # A read of the whole limit would map and unmap that much memory on each call.
    data = os.pread(fd, 8192, 0)
    return data if len(data) < 8192 else os.pread(fd, limit, 0)


def reopen(path: str) -> int:
    """For a new runner; what a plugin put in the place of a file goes, and with it what the file had told."""
    try:
        return open_file(path, OPEN)
    except OSError:
        if not os.path.lexists(path):
            raise
        _drop(path)
        return open_file(path, OPEN)


def leave(base: str) -> list[str]:
    """The process is gone: take away its working directory, or else what is mounted there; returns where that was."""
    try:
        os.rmdir(base + "/cwd")
    except OSError:
        return mounts.detach(base) if os.path.exists(base) else []
    return []


def close(base: str) -> bool:
    """After the verdict: drop stdin, out, secrets and cwd; keep log and events if there are any.

    Returns whether something is kept.
    """
    for name in ("/stdin", "/out", "/out.raw", "/log.raw", "/events", "/secrets"):
        with contextlib.suppress(OSError):
            os.unlink(base + name)
    trees.remove(base + "/cwd")
    keep = False
    for name in ("/log", "/stream"):
        try:
            info = os.lstat(base + name)
            if info.st_size and stat.S_ISREG(info.st_mode):
                keep = True
            else:
                _drop(base + name)
        except OSError:
            continue
    if not keep:
        trees.remove(base)
    return keep


def _drop(path: str) -> None:
    try:
        os.unlink(path)
    except IsADirectoryError:
        trees.remove(path)


def forget(stdin: str) -> None:
    """Remove the file with the stdin of a command that is not started."""
    if stdin:
        with contextlib.suppress(OSError):
            os.unlink(stdin)


def size(base: str) -> int:
    """Bytes kept in the directory of a judged command: what they take, which for a file of holes is little."""
    total = 0
    for name in ("/log", "/stream"):
        with contextlib.suppress(OSError):
            total += os.stat(base + name, follow_symlinks=False).st_blocks * 512
    return total
