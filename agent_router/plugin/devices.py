"""The device allow-list: which block devices may a destructive plugin touch?

Patterns are globs of device paths, separated by commas; a leading "!" excludes. Wildcards never stand for a block
device that is no disk of this machine (NO_DISK). The router checks the list before it starts a plugin; a plugin that
selects devices itself (erase all disks) checks it with the patterns of AGENT_DEVICES.
"""

import glob
import os
import re
import stat
from collections.abc import Iterable

SYS_BLOCK = "/sys/dev/block"
MOUNTS = "/proc/self/mountinfo"
# Kernel names of block devices that are not disks of this machine, though lsblk calls most of them so: memory, flash
# with the firmware (MTD and its translation layers), boot and replay-protected areas of eMMC, storage of other machines
# reached by network, floppies, and devices made of another one (Documentation/admin-guide/devices.txt of the kernel).
NO_DISK = re.compile(
    r"(ram|zram|nullb|mtdblock|mtdblock_ro|ftl|nftl|inftl|rfd|ssfdc|nbd|rbd|fd|bcache|drbd|zd)[0-9a-z]+(p[0-9]+)?"
    r"|ubiblock[0-9]+_[0-9]+|etherd.*|mmcblk[0-9]+(boot[0-9]+|rpmb)"
)


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
    excluded = protection(device, patterns)
    if excluded:
        return excluded
    special = is_no_disk(whole_disk(real))
    for pattern in patterns:
        if not pattern.startswith("!") and names & _expand(pattern) and not (special and glob.has_magic(pattern)):
            return ""
    listed = ", ".join(patterns) or "empty"
    if special:
        cure = f"to let plugins write to it all the same, start the agent with --devices {real}, without wildcards"
        return f"{device} is not a disk of this machine, and wildcards of the device allow-list leave it out; {cure}"
    return f"{device} is not in the agent's device allow-list ({listed}); start the agent with --devices {real}"


def protection(device: str, patterns: Iterable[str]) -> str:
    """A sentence if a pattern with "!" excludes the device, or what it is made of (RAID, LVM, multipath); else ""."""
    made_of = parts_of(os.path.realpath(device))
    names = made_of | set(map(whole_disk, made_of))
    for pattern in patterns:
        excluded = _expand(pattern[1:]) if pattern.startswith("!") else set()
        if names & excluded or made_of.intersection(map(whole_disk, excluded)):  # a disk goes with its partitions
            return f"{device} is protected by {pattern!r} in the agent's device allow-list"
    return ""


def parts_of(real: str) -> set[str]:
    """A device and everything that it, or the disk that it is a partition of, is built on; by kernel name."""
    found = {real}
    try:
        device = os.stat(whole_disk(real)).st_rdev
        below = os.listdir(f"{SYS_BLOCK}/{os.major(device)}:{os.minor(device)}/slaves")
    except (OSError, ValueError):
        return found
    return found.union(*(parts_of("/dev/" + name.replace("!", "/")) for name in below))


def is_no_disk(name: str) -> bool:
    """Whether a whole block device, by kernel name or path, is none of this machine's disks."""
    return NO_DISK.fullmatch(name.removeprefix("/dev/").replace("/", "!")) is not None


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
            point, source = unescape(left.split()[4]), unescape(right.split()[1])
            if point == real or point.startswith(real.rstrip("/") + "/"):
                found[point] = source
    return found


def mounted_at(directory: str) -> str:
    """The block device mounted there; "" if it is not a mount point, or has no device (tmpfs)."""
    source = mounts(directory).get(os.path.realpath(directory), "")
    return source if source.startswith("/dev/") else ""


def unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo, e.g. \\040 for a space."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def _expand(pattern: str) -> set[str]:
    return {os.path.realpath(path) for path in glob.glob(pattern)}
