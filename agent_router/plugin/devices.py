"""The device allow-list: which block devices may a destructive plugin touch?

Patterns are globs of device paths, separated by commas; a leading "!" excludes. The router checks it before it starts
a plugin; a plugin that selects devices itself (erase all disks) checks it with the patterns of AGENT_DEVICES.
"""

import glob
import os
import re
import stat
from collections.abc import Iterable

SYS_BLOCK = "/sys/dev/block"
MOUNTS = "/proc/self/mountinfo"


def refusal(device: str, patterns: Iterable[str]) -> str:
    """A sentence on why `device` must not be touched, "" if it may be.

    A partition is allowed if its disk is. Links (/dev/disk/by-id/…) are resolved on both sides.
    """
    real = os.path.realpath(device)
    try:
        mode = os.stat(real).st_mode
    except (OSError, ValueError):
        return f"{device} does not exist"
    if not stat.S_ISBLK(mode):
        return f"{device} is not a block device"
    names = {real, whole_disk(real)}
    patterns = list(patterns)
    for pattern in patterns:
        excluded = _expand(pattern[1:]) if pattern.startswith("!") else set()
        if names & excluded or real in map(whole_disk, excluded):  # a disk goes with its partitions
            return f"{device} is protected by {pattern!r} in the agent's device allow-list"
    if any(names & _expand(pattern) for pattern in patterns if not pattern.startswith("!")):
        return ""
    listed = ", ".join(patterns) or "empty"
    return f"{device} is not in the agent's device allow-list ({listed}); start the agent with --devices {real}"


def patterns_of(text: str) -> list[str]:
    """The patterns in the value of AGENT_DEVICES."""
    return [pattern for pattern in text.split(",") if pattern]


def whole_disk(real: str) -> str:
    """/dev/sda for /dev/sda1, and for any other node of that disk; what is no block device is returned unchanged."""
    try:
        info = os.stat(real)
    except (OSError, ValueError):
        return real
    if not stat.S_ISBLK(info.st_mode):
        return real
    place = os.path.realpath(f"{SYS_BLOCK}/{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}")
    if place.startswith(SYS_BLOCK):  # sysfs does not know it
        return real
    disk = os.path.dirname(place) if os.path.exists(place + "/partition") else place
    return "/dev/" + os.path.basename(disk).replace("!", "/")


def mounts(directory: str) -> dict[str, str]:
    """Mount points at and below `directory`, each with its topmost mount: a device, or a word such as tmpfs."""
    real, found = os.path.realpath(directory), {}
    with open(MOUNTS, errors="surrogateescape") as file:
        for line in file:
            # proc(5): field 4 (from 0) is the mount point, the source is the second field after the dash.
            left, _, right = line.partition(" - ")
            point, source = _unescape(left.split()[4]), _unescape(right.split()[1])
            if point == real or point.startswith(real.rstrip("/") + "/"):
                found[point] = source
    return found


def mounted_at(directory: str) -> str:
    """The block device mounted there; "" if it is not a mount point, or has no device (tmpfs)."""
    source = mounts(directory).get(os.path.realpath(directory), "")
    return source if source.startswith("/dev/") else ""


def _unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo, e.g. \\040 for a space."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def _expand(pattern: str) -> set[str]:
    return {os.path.realpath(path) for path in glob.glob(pattern)}
