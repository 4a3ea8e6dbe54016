"""The GPT of an image, put right for the disk it was written to (UEFI Specification 2.10, 5.3).

Only the primary table counts: what lies at the end of a disk, or where an image says that its backup is, may be left
over from somebody else.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agent_router import plugin

# Signature, revision, header size, its CRC, reserved, own LBA, LBA of the other header, first and last usable LBA,
# disk GUID, LBA of the entries, their number, their size, their CRC.
_HEADER = struct.Struct("<8s4sII4sQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQ")  # type, GUID, first and last LBA
SIGNATURE = b"EFI PART"
PROTECTIVE = 0xEE  # type of the partition of an MBR that stands for a GPT
_MBR_TYPES, _MBR_LARGEST = (450, 466, 482, 498), 0xFFFFFFFF
_LARGEST_ENTRIES = 512 << 10  # bytes; the usual 128 entries have 16 KiB
Read = Callable[[int, int], bytes]
Writes = list[tuple[int, bytes]]


class Fitted(NamedTuple):
    """What to write (offset, bytes), where the last partition ends, and the size of the disk it was made for."""

    writes: Writes
    partitions_end: int
    made_for: int


def fit(read: Read, size: int, sector: int) -> Fitted | None:
    """Make the GPT that `read(offset, length)` shows right for a disk of `size` bytes; None if there is none.

    Raises Failed("bad_partition_table") for one that is damaged, or has partitions beyond the end of the disk.
    """
    record = read(0, 512)
    if record[510:512] != b"\x55\xaa" or PROTECTIVE not in (record[at] for at in _MBR_TYPES):
        return None
    block, last = read(sector, sector), size // sector - 1
    header = _HEADER.unpack_from(block)
    signature, _, length, crc, _, own, other, first, _, _, entries_at, number, entry_size, entries_crc = header
    if signature != SIGNATURE:
        raise _bad("its MBR announces a GPT that is not there")
    if not _HEADER.size <= length <= sector or _crc(block[:16] + bytes(4) + block[20:length]) != crc or own != 1:
        raise _bad("the header of its GPT is damaged")
    if entry_size < 128 or entry_size % 8 or not 0 < number * entry_size <= _LARGEST_ENTRIES:
        raise _bad("the header of its GPT has entries of an impossible size")
    entries = read(entries_at * sector, number * entry_size)
    if _crc(entries) != entries_crc:
        raise _bad("the partition entries of its GPT are damaged")
    backup_at = last - -(-len(entries) // sector)
    used = [(at, end) for at, end in enumerate(_last_blocks(entries, entry_size), 1) if end]
    for at, end in used:
        if end >= backup_at:
            raise _bad(
                f"its partition {at} ends at byte {(end + 1) * sector}, and this disk has room for partitions up to "
                f"byte {backup_at * sector}: it was made for a larger disk, of {(other + 1) * sector} bytes"
            )
    primary = _sealed(header, last=backup_at - 1, own=1, other=last, entries_at=entries_at, rest=block[92:length])
    backup = _sealed(header, last=backup_at - 1, own=last, other=1, entries_at=backup_at, rest=block[92:length])
    writes = [(0, _protective(record, last)), (sector, primary)]
    writes += [(backup_at * sector, entries), (last * sector, backup)]
    return Fitted(writes, (max([end for _, end in used], default=first - 1) + 1) * sector, (other + 1) * sector)


def _last_blocks(entries: bytes, size: int) -> Iterator[int]:
    """The last LBA of each entry, 0 for one that is not in use."""
    for at in range(0, len(entries), size):
        kind, _, _, last = _ENTRY.unpack_from(entries, at)
        yield last if any(kind) else 0


def _sealed(header: tuple[object, ...], *, last: int, own: int, other: int, entries_at: int, rest: bytes) -> bytes:
    signature, revision, length, _, reserved, _, _, first, _, guid, _, number, size, entries_crc = header

    def packed(crc: int) -> bytes:
        fields = (signature, revision, length, crc, reserved, own, other, first, last, guid, entries_at)
        return _HEADER.pack(*fields, number, size, entries_crc) + rest

    return packed(_crc(packed(0)))


def _protective(record: bytes, last: int) -> bytes:
    """The MBR with the size of this disk, if it says nothing but that there is a GPT."""
    if record[450] != PROTECTIVE or any(record[at] for at in _MBR_TYPES[1:]):
        return record
    return record[:458] + struct.pack("<I", min(last, _MBR_LARGEST)) + record[462:]


def _crc(data: bytes) -> int:
    return zlib.crc32(data)


def _bad(why: str) -> plugin.Failed:
    message = f"the partition table of the image cannot be used: {why}; publish an image that sgdisk --verify accepts"
    return plugin.Failed("bad_partition_table", message)
