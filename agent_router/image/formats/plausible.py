"""Can this be a disk? It has something in its first MiB that firmware or a kernel knows."""

from agent_router.image.formats.magic import BOOT_RECORD
from agent_router.image.protocols import Buffer

LOOK = 1 << 20  # bytes for content(); less is enough for all but a few file systems
# (offset, bytes, name) of what may begin a disk: libblkid knows the same by the same bytes.
_KNOWN = (
    (512, b"EFI PART", "GPT"), (4096, b"EFI PART", "GPT"), (510, BOOT_RECORD, "boot record"),
    (0x8001, b"CD001", "ISO 9660"), (0x8001, b"BEA01", "UDF"), (0x8001, b"NSR0", "UDF"),
    (1080, b"\x53\xef", "ext"), (0, b"XFSB", "XFS"), (0x10040, b"_BHRfS_M", "Btrfs"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"), (1040, b"\x7f\x13", "Minix"), (1040, b"\x8f\x13", "Minix"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"), (0, b"hsqs", "SquashFS"), (32768, b"JFS1", "JFS"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcachefs"), (0x10034, b"ReIsEr", "ReiserFS"),
    (32, b"NXSB", "APFS"), (1024, b"H+", "HFS+"), (1024, b"HX", "HFS+"), (0, b"LUKS\xba\xbe", "LUKS"),
    (512, b"LABELONE", "LVM"), (4096, b"\xfc\x4e\x2b\xa9", "MD"), (0, b"\xfc\x4e\x2b\xa9", "MD"),
    (4086, b"SWAPSPACE2", "swap"), (512, b"\x57\x45\x56\x82", "BSD disk label"), (508, b"\xda\xbe", "Sun disk label"),
    (0, b"ER", "Apple partition map"), (512, b"PM\0\0", "Apple partition map"), (0, b"RDSK", "Amiga disk label"),
    (0x20000, b"\x0c\xb1\xba\0", "ZFS"), (0x21000, b"\x0c\xb1\xba\0", "ZFS"),
)  # fmt: skip


def content(first: Buffer) -> str | None:
    """What a disk that begins with `first` (its first MiB) has: a partition table, a file system, …; else None."""
    start = bytes(first)
    return next((name for offset, magic, name in _KNOWN if start.startswith(magic, offset)), None)


def unrecognised(name: str) -> str:
    """The sentence for an image of which content() knows nothing."""
    return f"{name} has neither a partition table nor a file system that is known, so it may not be a disk image"
