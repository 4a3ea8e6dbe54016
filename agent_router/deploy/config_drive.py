"""The config drive: a small file system with the user's data, on a partition that cloud-init finds.

Ironic sends the base64 of a gzip of it, or a URL of that. What is not a file system in the end is refused: a node
without its config drive is lost. It is written by its offset in the whole disk, so it does not matter whether the
kernel has seen the partition yet. For disks with large sectors it is made anew as a vfat: ISO 9660 has blocks of 2048
bytes, and Ironic's vfat sectors of 512; neither can be mounted from a disk with sectors of 4096.
"""

import base64
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent_router import plugin
from agent_router.image.formats import magic
from agent_router.image.sources import Spec, shown
from agent_router.image.sources.fetch import fetch
from agent_router.image.sources.spec import split
from agent_router.storage import blockdev, mounts, table
from agent_router.storage.table import MIB, Partition, PartitionTable

LABEL = "config-2"
LARGEST = 64 * MIB
# base64 of gzip of something that does not compress.
LARGEST_ENCODED = LARGEST * 3 // 2
PATIENCE_S = 30
PIECE = 4 << 20  # characters of base64 decoded at once
GZIP = b"\x1f\x8b"


def content(given: str) -> bytes:
    """The file system itself; raises Failed("bad_config_drive", "config_drive_too_large")."""
    if split(given[:10])[0] not in ("http", "https"):
        return unwrapped(given, "the config drive")
    found = fetched(given)
    what = f"the config drive from {shown(given)}"
    if file_system(found) or found.startswith(GZIP):
        return unpacked([found], what)
    return unwrapped(found.decode("latin-1"), what)  # only ASCII can be base64


def file_system(data: bytes) -> str | None:
    """ISO 9660, FAT or ext: what systems read a config drive from; None for anything else."""
    if data[0x8001:0x8006] == b"CD001":
        return "ISO 9660"
    if data[1080:1082] == b"\x53\xef":
        return "ext"
    # Bytes per sector and sectors per cluster are powers of two; noise with the signature fails here.
    sector, cluster = int.from_bytes(data[11:13], "little"), data[13] if len(data) > 13 else 0
    fat = data[510:512] == FAT_SIGNATURE and data[:1] in (b"\xeb", b"\xe9")
    return "FAT" if fat and sector in (512, 1024, 2048, 4096) and cluster and cluster & (cluster - 1) == 0 else None


def fetched(url: str) -> bytes:
    try:
        return fetch(Spec(url, patience_s=PATIENCE_S), LARGEST_ENCODED)
    except plugin.Failed as error:
        raise _too_large(error.message) if error.code == "too_large" else error from None


def unwrapped(encoded: str, what: str) -> bytes:
    """From base64, piece by piece, of the file system or its gzip."""
    if not encoded.strip():
        raise _bad(f"{what} is empty")
    try:
        return unpacked(_packed(encoded), what)
    except ValueError as error:
        kind = magic.kind_of(encoded[: magic.LOOK].encode("latin-1", "replace"))
        if kind in ("html", "xml", "json"):
            raise _bad(f"{what} is {magic.title(kind)}: check what the URL returns") from None
        raise _bad(f"{what} is neither a file system nor its gzip nor base64 of them: {error}") from None


def unpacked(pieces: Iterable[bytes], what: str) -> bytes:
    """The file system in `pieces`, which may be a gzip; never more than 64 MiB are unpacked."""
    unpacker, data, start = zlib.decompressobj(wbits=31), bytearray(), b""
    try:
        for piece in pieces:
            if len(start) < len(GZIP):
                start = piece = start + piece
                if len(start) < len(GZIP):
                    continue
            room = LARGEST + 1 - len(data)
            if room > 0 and not unpacker.eof:
                data += unpacker.decompress(piece, room) if start.startswith(GZIP) else piece[:room]
    except zlib.error as error:
        raise _bad(f"{what} is a damaged gzip file: {error}") from None
    if len(data) > LARGEST:
        raise _too_large(f"{what} is larger than 64 MiB, unpacked")
    if start.startswith(GZIP) and not unpacker.eof:
        raise _bad(f"{what} is truncated: its gzip has no end")
    found = bytes(data)
    if file_system(found) is None:
        raise _bad(f"{what} has no ISO 9660, vfat or ext file system in it: check what was given as configdrive")
    return found


def _packed(encoded: str) -> Iterator[bytes]:
    rest, padded = "", False
    for at in range(0, len(encoded), PIECE):
        text = rest + "".join(encoded[at : at + PIECE].split())
        if padded and text:
            raise ValueError("there is more after its end")
        whole = len(text) if at + PIECE >= len(encoded) else len(text) // 4 * 4
        rest, padded = text[whole:], text[:whole].endswith("=")
        yield base64.b64decode(text[:whole], validate=True)


def _bad(message: str) -> plugin.Failed:
    return plugin.Failed("bad_config_drive", message)


def _too_large(message: str) -> plugin.Failed:
    return plugin.Failed("config_drive_too_large", message)


def write(device: str, data: bytes) -> Partition:
    """Write `data` to the partition labelled config-2, or to a new one at the end of the disk."""
    name = blockdev.kernel_name(device)
    found = table.read(device)
    if found is None:
        message = f"{device} has no partition table after the image, so the config drive cannot be added"
        raise plugin.Failed("no_partition_table", message)
    partition = existing(device, found)
    if partition is None:
        partition = table.add_at_end(device, found, LARGEST, LABEL, blockdev.size_bytes(name))
    if not fits_sectors(data, found.sector):
        data = remade_for(data, found.sector, min(partition.size, LARGEST))
    if len(data) > partition.size:
        message = f"the config drive has {len(data)} bytes, partition {partition.number} only {partition.size}"
        raise _too_large(message)
    _put(device, partition, data)
    table.tell_kernel(device)
    return partition


def existing(device: str, found: PartitionTable) -> Partition | None:
    """The partition labelled config-2, by its file system or by its own name; raises Failed for two of them."""
    fitting = [part for part in found.partitions if part.type not in table.EXTENDED_TYPES and _labelled(device, part)]
    if len(fitting) > 1:
        numbers = " and ".join(str(part.number) for part in fitting)
        raise plugin.Failed("two_config_drives", f"the partitions {numbers} of {device} are both labelled {LABEL}")
    return fitting[0] if fitting else None


def _labelled(device: str, part: Partition) -> bool:
    if part.name.lower() == LABEL:
        return True
    return table.file_system(device, part).get("LABEL", "").lower() == LABEL


def _put(device: str, partition: Partition, data: bytes) -> None:
    fd = blockdev.open_exclusive(device)
    try:
        view = memoryview(data)
        offset = partition.start
        while view:
            count = os.pwrite(fd, view, offset)
            view, offset = view[count:], offset + count
        os.fsync(fd)
    except OSError as error:
        raise plugin.Failed("write_failed", f"{device}: {error.strerror}") from None
    finally:
        os.close(fd)


ISO_BLOCK = 2048
FAT_LABEL = "CONFIG-2"
FAT_SIGNATURE = b"\x55\xaa"


def fits_sectors(data: bytes, sector: int) -> bool:
    """Whether this file system can be mounted from a disk with sectors of that size."""
    if sector <= 512:
        return True
    if data[510:512] == FAT_SIGNATURE and data[:1] in (b"\xeb", b"\xe9"):
        return int.from_bytes(data[11:13], "little") == sector  # bytes per sector of a FAT
    return sector <= ISO_BLOCK


def remade_for(data: bytes, sector: int, size: int) -> bytes:
    """The files of the file system `data` in a new vfat of `size` bytes; else `data` itself, with a warning."""
    # Not in the working directory: the agent clears that away, and something is mounted here.
    with tempfile.TemporaryDirectory(prefix="agent-router-", dir="/tmp") as directory:
        given, made = Path(directory, "given"), Path(directory, "made")
        given.write_bytes(data)
        try:
            mounts.go_private()
            plugin.tool("mkfs.vfat", "-S", sector, "-n", FAT_LABEL, "-C", made, size // 1024)
            with mounts.mounted(str(given), ["loop", "ro"]) as root:
                found = [str(path) for path in sorted(root.iterdir()) if path.name != "lost+found"]
                if found:
                    plugin.tool("mcopy", "-s", "-i", made, *found, "::")
        except plugin.Failed as error:
            plugin.warn(
                f"the config drive is not made for sectors of {sector} bytes, and is written as it is: {error.message}"
            )
            return data
        return made.read_bytes()
