"""What a file is by its first bytes. Used only to refuse: the format is declared, never guessed.

A raw disk image has no magic of its own, so everything that people publish by mistake as one is
listed here by name, and any text is one of them. An ISO 9660 file is the exception: a hybrid one boots from a disk as
it is. A fixed-size VHD looks like a raw image at its beginning; its magic is at the end. What is on the list is refused
at once; what tells that it is a disk is in plausible.py.
"""

import codecs
import re

from agent_router import plugin
from agent_router.image.protocols import Buffer

# This many first bytes are enough: the magic of tar is at 257.
LOOK = 1024

# (offset, bytes, kind). Where a kind is a format of image.write, it has the name that is declared.
_MAGIC = (
    (0, b"\x1f\x8b", "gz"), (0, b"\xfd7zXZ\0", "xz"), (0, b"\x28\xb5\x2f\xfd", "zst"), (0, b"BZh", "bz2"),
    (0, b"QFI\xfb", "qcow2"), (257, b"ustar", "tar"),
    (0, b"KDMV", "vmdk"), (0, b"COWD", "vmdk"), (0, b"# Disk DescriptorFile", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"), (0, b"vhdxfile", "vhdx"), (0, b"QED\0", "qed"),
    (0, b"conectix", "vhd"),  # codespell:ignore conectix
    (0, b"WithoutFreeSpace", "parallels"), (0, b"WithouFreSpacExt", "parallels"),
    (0, b"\x3a\xff\x26\xed", "android-sparse"),
    (0, b"PK\x03\x04", "zip"), (0, b"7z\xbc\xaf\x27\x1c", "7z"), (0, b"Rar!\x1a\x07", "rar"),
    (0, b"\x04\x22\x4d\x18", "lz4"), (0, b"\x02\x21\x4c\x18", "lz4"), (0, b"LZIP", "lzip"), (0, b"\x89LZO", "lzop"),
    (0, b"\x5d\0\0\x80\0\xff\xff\xff\xff", "lzma"), (0, b"\x5d\0\0\0\x04\xff\xff\xff\xff", "lzma"),
    (0, b"\x1f\x9d", "compress"), (0, b"070701", "cpio"), (0, b"MSWIM\0\0\0", "wim"), (0, b"!<arch>\n", "ar"),
    (0, b"070702", "cpio"), (0, b"070707", "cpio"), (0, b"\xc7\x71", "cpio"), (0, b"xar!", "xar"), (0, b"MSCF", "cab"),
    (0, b"LRZI", "lrzip"), (0, b"\xff\x06\0\0sNaPpY", "snappy"), (0, b"\x37\xa4\x30\xec", "zstd-dictionary"),
    (0, b"\xed\xab\xee\xdb", "rpm"), (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "msi"),
    (0, b"partclone-image", "partclone"), (0, b"PaRtImAgE-VoLuMe", "partimage"), (0, b"\0ntfsclone-image", "ntfsclone"),
    (0, b"FsA0", "fsarchiver"), (0, b"\xfe\xef\x01", "ghost"), (0, b"\xb4\x6e\x68\x44", "acronis"),
    (0, b"EVF\x09\x0d\x0a\xff\0", "ewf"), (0, b"AFF10\x0d\x0a\0", "aff"), (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"UBI#", "ubi"), (0, b"\x27\x05\x19\x56", "uimage"), (0, b"\xd0\x0d\xfe\xed", "device-tree"),
    (0, b"ANDROID!", "android-boot"), (0, b"\x7fELF", "elf"), (0, b"\xcf\xfa\xed\xfe", "mach-o"),
    (0, b"\xca\xfe\xba\xbe", "mach-o"), (0, b"%PDF-", "pdf"), (0, b"\x89PNG\r\n", "png"), (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"), (0, b"SQLite format 3\0", "sqlite"),
    (0, b"-----BEGIN ", "armour"), (0, b"version https://git-lfs", "git-lfs"), (0x8001, b"CD001", "iso9660"),
)  # fmt: skip
_TORRENT = re.compile(rb"d\d{1,2}:[a-z]")  # a bencoded dictionary
BOOT_RECORD = b"\x55\xaa"  # at byte 510: of what firmware starts
# Compared without regard to case, and to white space and a byte order mark before it.
_TEXT = (
    (b"<!doctype", "html"), (b"<html", "html"), (b"<head", "html"), (b"<body", "html"), (b"<title", "html"),
    (b"<p>", "html"), (b"<h1", "html"), (b"<!--", "html"), (b"<?xml", "xml"), (b"<error", "xml"), (b'{"', "json"),
)  # fmt: skip
_WIDE_TEXT = (b"\xff\xfe", b"\xfe\xff")  # byte order marks of UTF-16
# No text has the others: a disk image has some of them in its first sector.
_LETTERS = bytes([*b"\t\n\f\r\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)])
# Formats whose first bytes are fixed: a file without them is refused, not unpacked by luck.
_FIXED = {"gz", "xz", "zst", "bz2", "qcow2"}

_TITLES = {
    "gz": "a gzip file", "xz": "an xz file", "zst": "a zstd file", "bz2": "a bzip2 file", "qcow2": "a qcow2 image",
    "tar": "a tar archive", "vmdk": "a VMDK image", "vdi": "a VDI image", "vhd": "a VHD image",
    "vhdx": "a VHDX image", "qed": "a QED image", "parallels": "a Parallels image",
    "android-sparse": "an Android sparse image", "armour": "PEM or PGP armour", "git-lfs": "a Git LFS pointer",
    "torrent": "a torrent file", "html": "an HTML page", "xml": "an XML document", "json": "a JSON document",
    "iso9660": "an ISO 9660 image", "raw": "a raw disk image", "text": "a text", "elf": "a Linux program",
    "mach-o": "a macOS program", "mz": "a Windows or EFI program", "ewf": "an EWF image", "aff": "an AFF image",
    "rpm": "an RPM package", "ar": "a Debian package or a library", "uimage": "a U-Boot image",
    "device-tree": "a device tree or FIT image", "partclone": "a Partclone image", "acronis": "an Acronis image",
    "ghost": "a Ghost image", "android-boot": "an Android boot image", "zstd-dictionary": "a zstd dictionary",
}  # fmt: skip
_CONVERT = "convert it with qemu-img convert -c -O qcow2 and declare qcow2"
_PAGE = "the server sent {} instead: check what the URL returns"
_RESTORE = "restore it to a disk with the tool that made it, and publish that disk as raw or zst"
_NO_DISK = "give the URL of a disk image"
_CURES = {
    "tar": "declare tar and name a tree to unpack it into, or publish a disk image",
    "vmdk": _CONVERT, "vdi": _CONVERT, "vhd": _CONVERT, "vhdx": _CONVERT, "qed": _CONVERT, "parallels": _CONVERT,
    "android-sparse": "unpack it with simg2img and publish it as raw or zst",
    "armour": "give the URL of the image, not that of its signature or key",
    "git-lfs": "fetch the file from Git LFS and publish that",
    "torrent": "give it as a source whose name ends in .torrent",
    "html": _PAGE.format("a page"), "xml": _PAGE.format("a document"), "json": _PAGE.format("a document"),
    "text": _PAGE.format("a text"), "bochs": _CONVERT,
    **dict.fromkeys(("partclone", "partimage", "ntfsclone", "fsarchiver", "ghost", "acronis", "ewf", "aff"), _RESTORE),
    **dict.fromkeys(("elf", "mach-o", "mz", "pdf", "png", "jpeg", "gif", "sqlite", "rpm", "msi", "ar"), _NO_DISK),
    **dict.fromkeys(("uimage", "device-tree", "android-boot", "ubi", "zstd-dictionary"), _NO_DISK),
    "iso9660": "declare raw",
}  # fmt: skip


def kind_of(first: Buffer) -> str | None:
    """The name of what begins like this; None for all else, e.g. a raw disk image."""
    start = bytes(first[: 0x8001 + 5])
    if start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F:
        return "zst"  # a skippable frame, as pzstd and the seekable format begin with (RFC 8878, 3.1.2)
    for offset, magic, kind in _MAGIC:
        if start.startswith(magic, offset):
            return kind
    if start.startswith(b"MZ") and start[510:512] != BOOT_RECORD:
        return "mz"
    if _TORRENT.match(start):
        return "torrent"
    return _kind_of_text(start[:LOOK])


def _kind_of_text(start: bytes) -> str | None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    found = next((kind for begin, kind in _TEXT if text.startswith(begin)), None)
    if found is None and start and (start.startswith(_WIDE_TEXT) or _is_text(start)):
        return "json" if text.startswith((b"{", b"[")) else "text"
    return found


def _is_text(start: bytes) -> bool:
    """UTF-8, of which the last letter may be cut, without control characters."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return not start.translate(None, _LETTERS)


def title(kind: str) -> str:
    """As a sentence names it, with its article."""
    return _TITLES.get(kind, f"a file of {kind}")


def refuse_mismatch(first: Buffer, declared: str, name: str, *, unpacked: bool = False) -> None:
    """Raise Failed("wrong_format") if a file that begins with `first` (1 KiB or all of it) is not what was declared.

    `unpacked`: `first` came out of a compressed file, whose content must be `declared`.
    """
    what = f"{name}, unpacked," if unpacked else name
    if not len(first):
        raise plugin.Failed("empty", f"{what} is empty")
    declared = declared.rpartition(".")[2]  # of tar.gz the outermost
    found = kind_of(first)
    if found == declared or (declared not in _FIXED and found in (None, "iso9660")):
        return
    if found in (None, "text") and _may_become(bytes(first[:6]), declared):
        return
    what_it_is = title(found) if found else f"not {title(declared)}"
    denied = f" and not {title(declared)}" if found else ", although it was declared as one"
    message = f"{what} is {what_it_is}{denied}: {_cure(found, unpacked)}"
    raise plugin.Failed("wrong_format", message, details={"declared": declared, "found": found})


def _may_become(start: bytes, declared: str) -> bool:
    """Too short to judge: it is truncated, and the decoder reports that better."""
    return any(kind == declared and magic.startswith(start) for _, magic, kind in _MAGIC)


def _cure(found: str | None, unpacked: bool) -> str:
    if found is None:
        return "declare what it is"
    if found == "qcow2" and unpacked:
        return "publish the qcow2 image itself (qemu-img convert -c packs it) and declare qcow2"
    if found in _FIXED:
        return "publish it packed only once" if unpacked else f"declare {found}"
    return _CURES.get(found, "unpack it and publish the disk image as raw or zst")
