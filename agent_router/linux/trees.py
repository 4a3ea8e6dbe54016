"""Remove a directory with all that is in it, and nothing of a file system that is mounted there."""

import contextlib
import itertools
import os
from collections.abc import Iterator

from agent_router.linux import mounts

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """What cannot be removed stays, without an error."""
    try:
        os.rmdir(path)
        return
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        mounts.detach(path)
    path = os.path.abspath(path)
    with contextlib.suppress(OSError):
        above = os.open(os.path.dirname(path), DIRECTORY)
        try:
            _empty(above, os.path.basename(path))
        finally:
            os.close(above)
        os.rmdir(path)


def _empty(above: int, name: str) -> None:
    top = _open(above, name)
    try:
        free = (f".removed.{number}" for number in itertools.count())
        kept: set[str] = set()
        while names := set(os.listdir(top)) - kept:
            for entry in names:
                if not _removed(top, entry, free):
                    kept.add(entry)
    finally:
        os.close(top)


def _removed(top: int, name: str, free: Iterator[str]) -> bool:
    """Whether `name` is gone from the directory `top`.

    The directories in it move up first: no depth is too deep for the stack or for the number of descriptors.
    """
    try:
        with contextlib.suppress(IsADirectoryError, PermissionError):  # EPERM by POSIX, EISDIR by Linux
            os.unlink(name, dir_fd=top)
            return True
        inner = _open(top, name)
        try:
            for entry in os.listdir(inner):
                try:
                    os.unlink(entry, dir_fd=inner)
                except (IsADirectoryError, PermissionError):
                    os.rename(entry, next(free), src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
        return True
    except OSError:
        return False


def _open(above: int, name: str) -> int:
    """The directory `name` in the directory `above`; OSError if something is mounted there."""
    fd = os.open(name, DIRECTORY, dir_fd=above)
    try:
        if _mount(fd) != _mount(above):
            raise OSError(f"{name} is a mount point")
        os.fchmod(fd, 0o700)
    except OSError:
        os.close(fd)
        raise
    return fd


def _mount(fd: int) -> bytes:
    """The id of the mount that a descriptor is on; of two bind mounts of one file system, different ones."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next(line for line in file if line.startswith(b"mnt_id:"))
