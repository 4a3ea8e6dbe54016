"""File systems that are mounted below a directory: find them, detach them."""

import os
import re
import select

from agent_router.linux import libc

MOUNTINFO = "/proc/self/mountinfo"
PATIENCE_S = 2.0  # detaching writes back what is not on the disk yet; it goes on after that, without us


def points(directory: str) -> list[str]:
    """Mount points at and below `directory`, in the order in which they were mounted."""
    real = os.path.realpath(directory)
    below = real.rstrip("/") + "/"
    try:
        with open(MOUNTINFO, errors="surrogateescape") as file:
            # proc(5): the fifth field is the mount point, with blanks as octal escapes.
            found = [_unescape(line.split(" ", 5)[4]) for line in file]
    except OSError:
        return []
    return [point for point in found if point == real or point.startswith(below)]


def detach(directory: str) -> list[str]:
    """Take away all that is mounted at and below `directory`; returns where something was.

    By a child: a dead disk or server may hold umount(2) for as long as it likes.
    """
    found = points(directory)
    if found:
        pid = os.fork()
        if pid == 0:
            _detach_all(found)
        pidfd = os.pidfd_open(pid)
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        ended.poll(PATIENCE_S * 1000)
        os.close(pidfd)
        os.waitpid(pid, os.WNOHANG)
    return found


def _detach_all(found: list[str]) -> None:
    try:
        os.closerange(3, 1 << 20)  # the runner's lock among them
        for point in reversed(found):
            libc.detach(point)
    finally:
        os._exit(0)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
