"""The config drive: a small file system with the user's data, on a partition that cloud-init finds.

Ironic sends the base64 of a gzip of it, or a URL of that. It is written by its offset in the whole disk, so it does not
matter whether the kernel has seen the partition yet. For disks with large sectors it is made anew as a vfat: ISO 9660
has blocks of 2048 bytes, and Ironic's vfat sectors of 512; neither can be mounted from a disk with sectors of 4096.
"""

import base64
import binascii
import os
import tempfile
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path

from agent_router import plugin
from agent_router.image.sources import Spec
from agent_router.image.sources.fetch import fetch
from agent_router.storage import blockdev, mounts, table
from agent_router.storage.table import MIB, Partition, PartitionTable

LABEL = "config-2"
LARGEST = 64 * MIB
# base64 of gzip of something that does not compress.
LARGEST_ENCODED = LARGEST * 3 // 2
PATIENCE_S = 30
PIECE = 4 << 20  # characters of base64 decoded at once


def content(given: str) -> bytes:
    """The file system itself; raises Failed("bad_config_drive", "config_drive_too_large")."""
    if urllib.parse.urlsplit(given[:10]).scheme in ("http", "https"):
        found = fetched(given)
        try:
            return decode(found.decode("latin-1"))  # only ASCII can be base64
        except plugin.Failed as error:
            # A server may have the file system itself.
            if error.code == "bad_config_drive" and len(found) <= LARGEST and not found.startswith(b"<"):
                return found
            raise
    return decode(given)


def fetched(url: str) -> bytes:
    try:
        return fetch(Spec(url, patience_s=PATIENCE_S), LARGEST_ENCODED)
    except plugin.Failed as error:
        raise _too_large(error.message) if error.code == "too_large" else error from None


def decode(encoded: str) -> bytes:
    """From base64 of gzip, piece by piece; never more than 64 MiB are unpacked."""
    unpacker, data = zlib.decompressobj(wbits=31), bytearray()  # 31: gzip with the largest window
    try:
        for packed in _packed(encoded):
            if not unpacker.eof and len(data) <= LARGEST:
                data += unpacker.decompress(packed, LARGEST + 1 - len(data))
    except (binascii.Error, ValueError, zlib.error) as error:
        message = f"the config drive is not base64 of a gzip file: {error}"
        raise plugin.Failed("bad_config_drive", message) from None
    if len(data) > LARGEST:
        raise _too_large("the config drive is larger than 64 MiB, unpacked")
    if not unpacker.eof or not data:
        raise plugin.Failed("bad_config_drive", "the config drive is empty or truncated")
    return bytes(data)


def _packed(encoded: str) -> Iterator[bytes]:
    rest, padded = "", False
    for at in range(0, len(encoded), PIECE):
        text = rest + "".join(encoded[at : at + PIECE].split())
        if padded and text:
            raise ValueError("there is more after its end")
        whole = len(text) if at + PIECE >= len(encoded) else len(text) // 4 * 4
        rest, padded = text[whole:], text[:whole].endswith("=")
        yield base64.b64decode(text[:whole], validate=True)


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
