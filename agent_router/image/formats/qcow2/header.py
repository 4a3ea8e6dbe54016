"""The header of a qcow2 image (versions 2 and 3), and what is refused by name.

The format is described in docs/interop/qcow2.txt of QEMU; the limits are those that QEMU has.
"""

import struct
from dataclasses import dataclass
from typing import NoReturn

from agent_router import plugin

LENGTH = 512  # bytes that hold every header; the smallest cluster
MAGIC = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_V3_AT, _COMPRESSION_AT = 72, 104
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED = 1, 2, 4, 8, 16
_ENCRYPTION = {1: "AES", 2: "LUKS"}
_LARGEST_L1 = 32 << 20  # bytes
_CURE = "publish what qemu-img convert -O qcow2 makes of it"


@dataclass(frozen=True, slots=True)
class Header:
    version: int
    cluster_bits: int
    size: int  # of the disk, bytes
    l1_offset: int
    l1_entries: int  # as many as the disk needs; what follows is for snapshots
    zstd: bool  # compressed clusters are zstd, otherwise deflate
    dirty: bool  # was not closed: reference counts, which are not used here, may be wrong

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_entries(self) -> int:
        return self.cluster // 8


def damaged(name: str, what: str) -> plugin.Failed:
    return plugin.Failed("bad_image", f"{name} is a damaged qcow2 image: {what}; see what qemu-img check says of it")


def parse(data: bytes, name: str) -> Header:
    """Raises Failed("bad_image") for a damaged header, Failed("unsafe_image") for unsupported features."""
    if len(data) < LENGTH:
        raise plugin.Failed("truncated", f"{name} has only {len(data)} bytes: publish it again")
    (magic, version, backing_at, backing_length, bits, size, encryption, l1_entries, l1_offset, _, _, snapshots, _) = (
        _V2.unpack_from(data)
    )
    if magic != MAGIC or version not in (2, 3):
        raise damaged(name, f"its version is {version}" if magic == MAGIC else "its magic is missing")
    if not 9 <= bits <= 21:
        raise damaged(name, f"its clusters have 2^{bits} bytes")
    if size % 512:
        raise damaged(name, f"the size of its disk, {size} bytes, is not a multiple of 512")
    features, length = _features(data, name) if version == 3 else (0, _V3_AT)
    if backing_at or backing_length:
        _refuse(name, "has a backing file, and only the published file is ever read")
    if encryption:
        _refuse(name, f"is encrypted ({_ENCRYPTION.get(encryption, encryption)})")
    if snapshots:
        _refuse(name, f"has internal snapshots ({snapshots}), and it is unclear which one is meant")
    zstd = _zstd(data[_COMPRESSION_AT] if length > _COMPRESSION_AT else 0, features, name)
    needed = -(-size // (1 << (2 * bits - 3)))
    if l1_offset % (1 << bits) or not l1_offset or not needed <= l1_entries <= _LARGEST_L1 // 8:
        raise damaged(name, f"its L1 table of {l1_entries} entries at byte {l1_offset} is not for {size} bytes")
    return Header(version, bits, size, l1_offset, needed, zstd, bool(features & _DIRTY))


def disk_size(data: bytes, name: str) -> int:
    """Bytes of the disk in an image that begins with `data`."""
    return parse(data, name).size


def _features(data: bytes, name: str) -> tuple[int, int]:
    """The incompatible features that are left after refusing those that matter, and the header's length."""
    features, _, _, refcount_order, length = _V3.unpack_from(data, _V3_AT)
    if length < _COMPRESSION_AT or length % 8 or length > 1 << 20 or refcount_order > 6:
        raise damaged(name, "the fields of its header contradict one another")
    if features & _CORRUPT:
        raise damaged(name, "it is marked as corrupt")
    if features & _DATA_FILE:
        _refuse(name, "has its data in another file, and only the published file is ever read")
    if features & _EXTENDED:
        _refuse(name, "has extended L2 entries (subclusters)")
    if unknown := features & ~(_DIRTY | _COMPRESSION):
        _refuse(name, f"needs unknown features (bits {unknown:#x})")
    return features, length


def _zstd(kind: int, features: int, name: str) -> bool:
    if kind > 1:
        _refuse(name, f"is compressed by an unknown method ({kind})")
    if bool(features & _COMPRESSION) != bool(kind):
        raise damaged(name, "its header contradicts itself about how it is compressed")
    return kind == 1


def _refuse(name: str, what: str) -> NoReturn:
    raise plugin.Failed("unsafe_image", f"{name} {what}: {_CURE}")
