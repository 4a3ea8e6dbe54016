"""What /proc tells of processes."""

import os

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    try:
        fd = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)  # asked at each end
    except OSError:
        return []
    try:
        text = b""
        while part := os.read(fd, 8192):
            text += part
        return [int(word) for word in text.split()]
    except OSError:
        return []
    finally:
        os.close(fd)


def start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot (proc(5) field 22); -1 if it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else -1


def stat_fields(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from the state (field 3) on; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()
    except OSError:
        return []


def title(pid: int) -> bytes:
    """What ps shows; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(4096)
    except OSError:
        return b""
