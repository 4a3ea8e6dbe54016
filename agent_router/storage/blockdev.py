"""Facts about one block device from sysfs, and whether anything uses it.

Everything is keyed by kernel name (sda, nvme0n1p2). `sys` and `proc` are parameters so that tests can simulate a
machine.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from agent_router.plugin import InvalidRequest, Refused, devices

SYS = Path("/sys")
PROC = Path("/proc")
# The unit of size and start in sysfs, whatever the disk's sector size (Documentation/block/stat.rst).
SYSFS_SECTOR = 512


def read(path: Path) -> str | None:
    """The stripped text of a sysfs or proc file; None if it is missing or unreadable."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path, default: int = 0) -> int:
    """The number in a sysfs file, else `default`."""
    text = read(path)
    try:
        return int(text) if text else default
    except ValueError:
        return default


def kernel_name(device: str) -> str:
    """The kernel name of a device path, links resolved; raises InvalidRequest("not_a_block_device")."""
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
    """The disk of a partition; a disk is returned unchanged."""
    return sysfs(name, sys).parent.name if is_partition(name, sys) else name


def partitions(name: str, sys: Path = SYS) -> list[str]:
    """The partitions of a disk, by partition number."""
    found = [entry.parent for entry in sysfs(name, sys).glob("*/partition")]
    return [path.name for path in sorted(found, key=lambda path: read_int(path / "partition"))]


def size_bytes(name: str, sys: Path = SYS) -> int:
    return read_int(sysfs(name, sys) / "size") * SYSFS_SECTOR


def holders(name: str, sys: Path = SYS) -> list[str]:
    """Devices built on this one: MD, device mapper (LVM, LUKS, multipath), bcache and loop devices."""
    directory = sysfs(name, sys) / "holders"
    found = {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()
    for backing in (sys / "class/block").glob("loop*/loop/backing_file"):
        if read(backing) == f"/dev/{name}":
            found.add(backing.parent.parent.name)
    return sorted(found)


def mountpoints(name: str, sys: Path = SYS, proc: Path = PROC) -> list[str]:
    """Where a device is mounted; `[SWAP]` for active swap, as in lsblk(8)."""
    number = read(sysfs(name, sys) / "dev")
    found = []
    for line in (read(proc / "self/mountinfo") or "").splitlines():
        # proc(5), counted from 0: 2 is major:minor, 4 the mount point; the source is the second field after the dash.
        left, _, right = line.partition(" - ")
        fields, source = left.split(), right.split()[1:2]
        # btrfs shows a device number of its own, so compare the source as well.
        if fields[2] == number or source == [f"/dev/{name}"]:
            found.append(devices.unescape(fields[4]))
    swaps = (read(proc / "swaps") or "").splitlines()[1:]
    return found + ["[SWAP]" for line in swaps if line.split()[0] == f"/dev/{name}"]


def uses(name: str, sys: Path = SYS, proc: Path = PROC) -> list[str]:
    """Sentences on what uses a device or its partitions; empty if it is unused."""
    found = []
    for part in [name, *partitions(name, sys)]:
        places = mountpoints(part, sys, proc)
        found += [f"{part} is in use as swap" if at == "[SWAP]" else f"{part} is mounted at {at}" for at in places]
        found += [f"{holder} is built on {part}" for holder in holders(part, sys)]
    return found


def refuse_if_used(device: str, name: str) -> None:
    """Raise Refused("device_busy"), listing everything that uses the device."""
    found = uses(name)
    if found:
        raise Refused("device_busy", f"{device} is in use: {'; '.join(found)}", details={"uses": found})


def open_exclusive(device: str) -> int:
    """A writable descriptor of a device that is not in use; raises Refused("device_busy").

    O_EXCL on a block device is the kernel's own check: it fails for a mount in any mount namespace, swap, MD, device
    mapper, and another program that has opened the device this way.
    """
    refuse_if_used(device, kernel_name(device))
    try:
        return os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        raise Refused("device_busy", f"{device} cannot be opened for writing: {error.strerror}") from None


@dataclass(frozen=True)
class QueueLimits:
    """What a disk supports besides reading and writing; in bytes, 0 if unsupported."""

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
