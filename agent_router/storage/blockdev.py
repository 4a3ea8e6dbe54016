"""Facts about one block device from sysfs, and whether anything uses it.

Everything is keyed by the kernel's name (sda, nvme0n1p2). `sys` and `proc` are parameters so
that tests show a machine they do not have.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from agent_router.plugin import InvalidRequest, Refused

SYS = Path("/sys")
PROC = Path("/proc")
# The unit of size and start in sysfs, whatever the sectors of the disk (Documentation/block/stat.rst).
SYSFS_SECTOR = 512


def read(path: Path) -> str | None:
    """The text of a sysfs or proc file without its line end; None if it is not there or not readable."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path, default: int = 0) -> int:
    """The number in a sysfs file; `default` if there is none."""
    text = read(path)
    try:
        return int(text) if text else default
    except ValueError:
        return default


def kernel_name(device: str) -> str:
    """The kernel's name of a device path, links followed; raises InvalidRequest("not_a_block_device")."""
    try:
        status = os.stat(device)
    except OSError as error:
        raise InvalidRequest("not_a_block_device", f"{device}: {error.strerror}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidRequest("not_a_block_device", f"{device} is not a block device")
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return (SYS / "dev/block" / number).resolve().name


def sysfs(name: str, sys: Path = SYS) -> Path:
    """The directory of a disk or partition. sysfs writes ! where a device name has a / (cciss!c0d0)."""
    return (sys / "class/block" / name.replace("/", "!")).resolve()


def is_partition(name: str, sys: Path = SYS) -> bool:
    return (sysfs(name, sys) / "partition").exists()


def whole_disk(name: str, sys: Path = SYS) -> str:
    """The disk that a partition lies on; a disk is its own."""
    return sysfs(name, sys).parent.name if is_partition(name, sys) else name


def partitions(name: str, sys: Path = SYS) -> list[str]:
    """The partitions of a disk, in the order of the kernel's numbers."""
    found = [entry.parent for entry in sysfs(name, sys).glob("*/partition")]
    return [path.name for path in sorted(found, key=lambda path: read_int(path / "partition"))]


def size_bytes(name: str, sys: Path = SYS) -> int:
    return read_int(sysfs(name, sys) / "size") * SYSFS_SECTOR


def holders(name: str, sys: Path = SYS) -> list[str]:
    """Devices built on this one: MD, device mapper (LVM, LUKS, multipath), bcache, and loop devices."""
    directory = sysfs(name, sys) / "holders"
    found = {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()
    for backing in (sys / "class/block").glob("loop*/loop/backing_file"):
        if read(backing) == f"/dev/{name}":
            found.add(backing.parent.parent.name)
    return sorted(found)


def mountpoints(name: str, sys: Path = SYS, proc: Path = PROC) -> list[str]:
    """Where a device is mounted; `[SWAP]` for swap in use, as lsblk(8) says it."""
    number = read(sysfs(name, sys) / "dev")
    found = []
    for line in (read(proc / "self/mountinfo") or "").splitlines():
        # proc(5): 2 is major:minor, 4 the mount point, the source is the second field after the dash.
        left, _, right = line.partition(" - ")
        fields, source = left.split(), right.split()[1:2]
        # btrfs shows a device number of its own, so the source counts as well.
        if fields[2] == number or source == [f"/dev/{name}"]:
            found.append(_unescape(fields[4]))
    swaps = (read(proc / "swaps") or "").splitlines()[1:]
    return found + ["[SWAP]" for line in swaps if line.split()[0] == f"/dev/{name}"]


def _unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo, e.g. \\040 for a space."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def uses(name: str, sys: Path = SYS, proc: Path = PROC) -> list[str]:
    """Sentences on what uses a device or any partition of it; empty if nothing does."""
    found = []
    for part in [name, *partitions(name, sys)]:
        places = mountpoints(part, sys, proc)
        found += [f"{part} is used as swap" if at == "[SWAP]" else f"{part} is mounted at {at}" for at in places]
        found += [f"{holder} is built on {part}" for holder in holders(part, sys)]
    return found


def refuse_if_used(device: str, name: str) -> None:
    """Raise Refused("device_busy") with everything that uses the device."""
    found = uses(name)
    if found:
        raise Refused("device_busy", f"{device} is in use: {'; '.join(found)}", details={"uses": found})


def open_exclusive(device: str) -> int:
    """A descriptor for writing on a device that nobody uses; raises Refused("device_busy").

    O_EXCL on a block device is the kernel's own test: it fails for a mount in any mount namespace,
    swap, MD, device mapper, and for another program that holds the device this way.
    """
    refuse_if_used(device, kernel_name(device))
    try:
        return os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        raise Refused("device_busy", f"{device} cannot be opened for writing: {error.strerror}") from None


@dataclass(frozen=True)
class QueueLimits:
    """What a disk can do beside reading and writing; bytes, 0 where it cannot."""

    logical_block: int
    physical_block: int
    discard_max: int
    write_zeroes_max: int
    rotational: bool
    read_only: bool


def limits(name: str, sys: Path = SYS) -> QueueLimits:
    """The queue limits of the disk (Documentation/ABI/stable/sysfs-block)."""
    directory = sysfs(whole_disk(name, sys), sys)
    queue = directory / "queue"
    return QueueLimits(
        logical_block=read_int(queue / "logical_block_size", 512),
        physical_block=read_int(queue / "physical_block_size", 512),
        discard_max=read_int(queue / "discard_max_bytes"),
        write_zeroes_max=read_int(queue / "write_zeroes_max_bytes"),
        rotational=read_int(queue / "rotational") == 1,
        read_only=read_int(directory / "ro") == 1,
    )
