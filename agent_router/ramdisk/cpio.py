"""Write cpio archives of the newc form, which the kernel unpacks as an initramfs.

The form is that of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. The same
entries give the same bytes, whoever owns the files and whenever they were changed.
"""

import os
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Protocol

PATH_MAX = 4096  # the kernel passes over a longer name or link without a word
FIELD_MAX = 0xFFFFFFFF
CHUNK = 1 << 20
BLOCK = 512  # as cpio(1) pads
TRAILER = b"TRAILER!!!"


class ArchiveError(Exception):
    """This cannot be put into an archive; str() names the file, the cause and the cure."""


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or symbolic link of the archive; all belong to root.

    `mode` is that of stat(2), type included. A regular file is read from `source`; files with the same
    `inode` (any value but None) become hard links of one file.
    """

    name: str
    mode: int
    source: str = ""
    target: str = ""
    inode: tuple[int, int] | None = None


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, stat.S_IFDIR | mode)


def write_gzip(entries: Iterable[Entry], file: IO[bytes], mtime: int = 0) -> None:
    """The archive, compressed; further ones may stand behind it, for the kernel and for gzip(1) alike."""
    packed = _Gzip(file)
    write(entries, packed, mtime)
    packed.end()


def write(entries: Iterable[Entry], file: Sink, mtime: int = 0) -> None:
    """The archive, directories that lack an entry included; ArchiveError or OSError leave it half written."""
    archive = _Archive(file, mtime)
    listed = complete(entries)
    left = Counter(entry.inode for entry in listed if entry.inode is not None)
    names = dict(left)
    numbers: dict[tuple[int, int], int] = {}
    for number, entry in enumerate(listed, 1):
        if entry.inode is None:
            archive.add(entry, number)
            continue
        left[entry.inode] -= 1
        number = numbers.setdefault(entry.inode, number)
        # As cpio(1) does it: the last name of a file brings the content.
        archive.add(entry, number, names[entry.inode], empty=left[entry.inode] > 0)
    archive.end()


def complete(entries: Iterable[Entry]) -> list[Entry]:
    """In the order of the archive, parents first; the kernel makes no directory that is not listed."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.name in found:
            raise ArchiveError(f"{entry.name} would be in the archive twice; remove one of the two")
        found[entry.name] = entry
    for name in list(found):
        while (name := os.path.dirname(name)) and name not in found:
            found[name] = directory(name)
    return [found[name] for name in sorted(found, key=os.fsencode)]


class _Gzip:
    """One member of a gzip file (RFC 1952) whose length is a multiple of 4.

    The kernel takes a plain archive only at such a place. Zeros behind the member would do for the kernel,
    but gzip(1) reads nothing beyond them; blocks of deflate (RFC 1951) that hold nothing do for both.
    """

    HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # deflate, no name, no time, best compression, no system
    EMPTY, LAST = b"\0\0\0\xff\xff", b"\1\0\0\xff\xff"

    def __init__(self, file: Sink) -> None:
        self._file = file
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc = self._size = self._length = 0
        self._put(self.HEAD)

    def write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._put(self._deflate.compress(data))

    def end(self) -> None:
        self._put(self._deflate.flush(zlib.Z_SYNC_FLUSH))  # up to a whole byte
        tail = self.LAST + struct.pack("<LL", self._crc, self._size & FIELD_MAX)
        while (self._length + len(tail)) % 4:
            tail = self.EMPTY + tail
        self._put(tail)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._length += len(data)


class _Archive:
    def __init__(self, file: Sink, mtime: int) -> None:
        self._file = file
        self._mtime = mtime
        self._length = 0

    def add(self, entry: Entry, number: int, names: int = 1, empty: bool = False) -> None:
        if stat.S_ISLNK(entry.mode):
            target = os.fsencode(entry.target)
            if len(target) >= PATH_MAX:
                raise ArchiveError(f"{entry.name} points at a path longer than {PATH_MAX - 1} bytes; shorten it")
            self._head(entry, number, names, len(target))
            self._put(target)
        elif stat.S_ISREG(entry.mode) and not empty:
            self._add_file(entry, number, names)
        else:
            self._head(entry, number, 2 if stat.S_ISDIR(entry.mode) else names, 0)
        self._pad(4)

    def _add_file(self, entry: Entry, number: int, names: int) -> None:
        # Not blocking: what was a file when it was listed may be a pipe by now.
        with open(os.open(entry.source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as source:
            info = os.fstat(source.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ArchiveError(f"{entry.source} is not a regular file any more; run the command again")
            self._head(entry, number, names, info.st_size)
            self._copy(source, info.st_size, entry.source)

    def end(self) -> None:
        self._head(Entry(TRAILER.decode(), 0), 0, 1, 0)
        self._pad(BLOCK)

    def _head(self, entry: Entry, number: int, names: int, size: int) -> None:
        name = os.fsencode(entry.name) + b"\0"
        if len(name) > PATH_MAX:
            raise ArchiveError(f"the path {entry.name[:60]}… is longer than {PATH_MAX - 1} bytes; shorten it")
        if size > FIELD_MAX:
            raise ArchiveError(f"{entry.source} has {size >> 20} MiB, and cpio ends at 4 GiB a file; split it")
        mtime = self._mtime if entry.mode else 0
        fields = (number, entry.mode, 0, 0, names, mtime, size, 0, 0, 0, 0, len(name), 0)
        self._put(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        self._pad(4)

    def _copy(self, source: IO[bytes], size: int, path: str) -> None:
        copied = 0
        # One byte more is asked for: a file that has grown is as torn as one that has shrunk.
        while data := source.read(min(CHUNK, size - copied + 1)):
            copied += len(data)
            if copied > size:
                break
            self._put(data)
        if copied != size:
            raise ArchiveError(f"{path} changed while it was read; run the command again when nothing writes to it")

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._length += len(data)

    def _pad(self, to: int) -> None:
        self._put(bytes(-self._length % to))
