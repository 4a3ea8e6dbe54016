"""What a file is by its first bytes. Used only to refuse: the format is declared, never guessed.

A raw disk image has no magic of its own, so everything that people publish by mistake as one is
listed here by name. An ISO 9660 file is the exception: a hybrid one boots from a disk as it is.
A fixed-size VHD looks like a raw image at its beginning; its magic is at the end.
"""

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
    (0, b"-----BEGIN ", "armour"), (0, b"version https://git-lfs", "git-lfs"), (0, b"d8:announce", "torrent"),
    (0x8001, b"CD001", "iso9660"),
)  # fmt: skip
# Compared without regard to case, and to white space and a byte order mark before it.
_TEXT = (
    (b"<!doctype", "html"), (b"<html", "html"), (b"<head", "html"), (b"<!--", "html"), (b"<?xml", "xml"),
    (b'{"', "json"),
)  # fmt: skip
# Formats whose first bytes are fixed: a file without them is refused, not unpacked by luck.
_FIXED = {"gz", "xz", "zst", "bz2", "qcow2"}

_TITLES = {
    "gz": "a gzip file", "xz": "an xz file", "zst": "a zstd file", "bz2": "a bzip2 file", "qcow2": "a qcow2 image",
    "tar": "a tar archive", "vmdk": "a VMDK image", "vdi": "a VDI image", "vhd": "a VHD image",
    "vhdx": "a VHDX image", "qed": "a QED image", "parallels": "a Parallels image",
    "android-sparse": "an Android sparse image", "armour": "PEM or PGP armour", "git-lfs": "a Git LFS pointer",
    "torrent": "a torrent file", "html": "an HTML page", "xml": "an XML document", "json": "a JSON document",
    "iso9660": "an ISO 9660 image", "raw": "a raw disk image",
}  # fmt: skip
_CONVERT = "convert it with qemu-img convert -c -O qcow2 and declare qcow2"
_CURES = {
    "tar": "declare tar and name a tree to unpack it into, or publish a disk image",
    "vmdk": _CONVERT, "vdi": _CONVERT, "vhd": _CONVERT, "vhdx": _CONVERT, "qed": _CONVERT, "parallels": _CONVERT,
    "android-sparse": "unpack it with simg2img and publish it as raw or zst",
    "armour": "give the URL of the image, not that of its signature or key",
    "git-lfs": "fetch the file from Git LFS and publish that",
    "torrent": "give it as a source whose name ends in .torrent",
    "html": "the server sent a page instead: check what the URL returns",
    "xml": "the server sent a document instead: check what the URL returns",
    "json": "the server sent a document instead: check what the URL returns",
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
    text = start[:LOOK].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    return next((kind for begin, kind in _TEXT if text.startswith(begin)), None)


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
    if found is None and _may_become(bytes(first[:6]), declared):
        return
    title = _TITLES.get(found, f"a file of {found}") if found else f"not {_TITLES[declared]}"
    denied = f" and not {_TITLES.get(declared, declared)}" if found else ", although it was declared as one"
    message = f"{what} is {title}{denied}: {_cure(found, unpacked)}"
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
