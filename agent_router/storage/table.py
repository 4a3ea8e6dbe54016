"""Partition tables, read with sfdisk from the disk itself.

All offsets are relative to the whole disk, so they are valid before the kernel has read a new table, and where the
kernel shows no partitions at all.
"""

import contextlib
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from agent_router import plugin

MIB = 1 << 20
ESP_TYPES = {"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef"}  # UEFI Specification, 5.3.3 and 5.2.2
EXTENDED_TYPES = {"5", "f", "85"}
FAT32_LBA = "c"
MSDOS_SECTORS = 1 << 32  # an msdos table has 32-bit starts and lengths


@dataclass(frozen=True)
class Partition:
    """`start` and `size` in bytes; `type` is a GUID or a hexadecimal number, in lower case."""

    number: int
    start: int
    size: int
    type: str
    name: str = ""
    uuid: str = ""

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class PartitionTable:
    label: str  # gpt, dos
    sector: int
    partitions: list[Partition] = field(default_factory=list)


def read(device: str) -> PartitionTable | None:
    """The partition table of a disk; None if sfdisk recognises none."""
    try:
        text = plugin.tool("sfdisk", "--json", device)
    except plugin.Failed as error:
        if "does not contain a recognized" in error.message:
            return None
        raise
    return parse(json.loads(text))


def parse(answer: dict[str, Any]) -> PartitionTable:
    """The PartitionTable in the output of `sfdisk --json`."""
    table = answer["partitiontable"]
    sector = int(table.get("sectorsize", 512))
    return PartitionTable(table["label"], sector, [_partition(item, sector) for item in table.get("partitions", [])])


def _partition(item: dict[str, Any], sector: int) -> Partition:
    number = re.search(r"\d+$", item["node"])
    return Partition(
        int(number[0]) if number else 0,
        item["start"] * sector,
        item["size"] * sector,
        item["type"].lower(),
        item.get("name", ""),
        item.get("uuid", "").lower(),
    )


def file_system(device: str, partition: Partition) -> dict[str, str]:
    """What blkid finds in a partition: {"TYPE", "LABEL", "UUID", …}; {} if it recognises nothing."""
    extent = ["--offset", partition.start, "--size", partition.size]
    # blkid(8): 2, nothing recognised; 8, several conflicting signatures.
    text = plugin.tool("blkid", "--probe", *extent, "--output", "export", device, ok=(0, 2, 8))
    lines = (re.sub(r"\\(.)", r"\1", line) for line in text.splitlines() if "=" in line)
    return dict(line.split("=", 1) for line in lines)


def find_esp(table: PartitionTable) -> Partition | None:
    """The EFI system partition."""
    return next((part for part in table.partitions if part.type in ESP_TYPES), None)


def add_at_end(device: str, table: PartitionTable, size: int, name: str, disk_bytes: int) -> Partition:
    """Create a partition of `size` bytes at the end of the disk; raises Failed("no_space") or ("no_free_slot")."""
    if table.label == "gpt":
        return _add_gpt(device, size, name)
    start = msdos_place(table, size, disk_bytes)
    line = f"start={start // table.sector}, size={size // table.sector}, type={FAT32_LBA}"
    plugin.tool("sfdisk", "--append", "--no-reread", "--no-tell-kernel", device, stdin=line + "\n")
    return _reread(device, lambda part: part.start == start)


def _add_gpt(device: str, size: int, name: str) -> Partition:
    new = str(uuid.uuid4())
    try:
        plugin.tool(
            "sgdisk", f"--new=0:-{size // MIB}M:0", f"--partition-guid=0:{new}", f"--change-name=0:{name}", device
        )
    except plugin.Failed as error:
        message = f"{device} has no {size // MIB} MiB free at its end for the partition {name}: {error.message}"
        raise plugin.Failed("no_space", message) from None
    return _reread(device, lambda part: part.uuid == new)


def _reread(device: str, is_new: Any) -> Partition:
    table = read(device)
    for part in table.partitions if table else []:
        if is_new(part):
            return part
    raise plugin.Failed("no_space", f"the new partition is not in the partition table of {device}")


def msdos_place(table: PartitionTable, size: int, disk_bytes: int) -> int:
    """Start of a primary partition of `size` bytes: at the end, but within reach of an msdos table."""
    primary = [part for part in table.partitions if part.number <= 4]
    if len(primary) >= 4:
        raise plugin.Failed(
            "no_free_slot",
            "the msdos partition table already has 4 primary partitions; "
            "use an image with a GPT, or one with a partition labelled config-2",
        )
    end = min(disk_bytes, MSDOS_SECTORS * table.sector - MIB)
    start = (end - size) // MIB * MIB
    if start < MIB or any(part.start < start + size and start < part.end for part in primary):
        message = f"there are no {size // MIB} MiB free at the end of the disk, whose partitions end at byte "
        raise plugin.Failed("no_space", message + str(max([part.end for part in primary], default=0)))
    return start


def tell_kernel(device: str) -> None:
    """Make the kernel reread the table. It refuses while a partition is in use, but the table on disk is valid."""
    with contextlib.suppress(plugin.Failed):
        plugin.tool("blockdev", "--rereadpt", device)
    with contextlib.suppress(plugin.Failed):
        plugin.tool("udevadm", "settle", "--timeout=10")
