"""Write cpio archives in the newc format, which the kernel unpacks as an initramfs.

The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. The same members
give the same bytes, whoever owns the files and whenever they were changed.
"""

import os
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Protocol

PATH_MAX = 4096  # the kernel silently skips a longer name or link
FIELD_MAX = 0xFFFFFFFF
CHUNK = 1 << 20
BLOCK = 512  # as cpio(1) pads
TRAILER = b"TRAILER!!!"


class ArchiveError(Exception):
    """The archive cannot be made; str() names the file, the cause and the cure."""


class Output(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Member:
    """One file, directory or symbolic link of the archive, owned by root.

    `mode` is st_mode of stat(2), type included. A regular file is read from `source`; files with the same
    `inode` (any value but None) become hard links to one file.
    """

    name: str
    mode: int
    source: str = ""
    target: str = ""
    inode: tuple[int, int] | None = None


def directory(name: str, mode: int = 0o755) -> Member:
    return Member(name, stat.S_IFDIR | mode)


def write_gzip(members: Iterable[Member], file: IO[bytes], mtime: int = 0) -> None:
    """The archive, compressed; more may be appended, for the kernel and for gzip(1) alike."""
    packed = _Gzip(file)
    write(members, packed, mtime)
    packed.end()


def write(members: Iterable[Member], file: Output, mtime: int = 0) -> None:
    """The archive, including missing parent directories; ArchiveError and OSError leave it half written."""
    archive = _Archive(file, mtime)
    listed = complete(members)
    left = Counter(member.inode for member in listed if member.inode is not None)
    names = dict(left)
    numbers: dict[tuple[int, int], int] = {}
    for number, member in enumerate(listed, 1):
        if member.inode is None:
            archive.add(member, number)
            continue
        left[member.inode] -= 1
        number = numbers.setdefault(member.inode, number)
        # As in cpio(1), the content follows the last name of a file.
        archive.add(member, number, names[member.inode], empty=left[member.inode] > 0)
    archive.end()


def complete(members: Iterable[Member]) -> list[Member]:
    """In archive order, parents first; the kernel creates no directory that is not listed."""
    found: dict[str, Member] = {}
    for member in members:
        if member.name in found:
            raise ArchiveError(f"{member.name} would be in the archive twice; remove one of them")
        found[member.name] = member
    for name in list(found):
        while (name := os.path.dirname(name)) and name not in found:
            found[name] = directory(name)
    return [found[name] for name in sorted(found, key=os.fsencode)]


class _Gzip:
    """One member of a gzip file (RFC 1952), padded to a multiple of 4 bytes.

    The kernel accepts a following uncompressed archive only at such an offset. It would also skip zeros, but gzip(1)
    reads nothing beyond them; empty deflate blocks (RFC 1951) work for both.
    """

    HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # deflate, no name, no time, best compression, no system
    EMPTY, LAST = b"\0\0\0\xff\xff", b"\1\0\0\xff\xff"

    def __init__(self, file: Output) -> None:
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
    def __init__(self, file: Output, mtime: int) -> None:
        self._file = file
        self._mtime = mtime
        self._length = 0

    def add(self, member: Member, number: int, names: int = 1, empty: bool = False) -> None:
        if stat.S_ISLNK(member.mode):
            target = os.fsencode(member.target)
            if len(target) >= PATH_MAX:
                raise ArchiveError(f"{member.name} points to a path longer than {PATH_MAX - 1} bytes; shorten it")
            self._head(member, number, names, len(target))
            self._put(target)
        elif stat.S_ISREG(member.mode) and not empty:
            self._add_file(member, number, names)
        else:
            self._head(member, number, 2 if stat.S_ISDIR(member.mode) else names, 0)
        self._pad(4)

    def _add_file(self, member: Member, number: int, names: int) -> None:
        # Non-blocking: what was listed as a file may be a pipe by now.
        with open(os.open(member.source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as source:
            info = os.fstat(source.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ArchiveError(f"{member.source} is not a regular file any more; run the command again")
            self._head(member, number, names, info.st_size)
            self._copy(source, info.st_size, member.source)

    def end(self) -> None:
        self._head(Member(TRAILER.decode(), 0), 0, 1, 0)
        self._pad(BLOCK)

    def _head(self, member: Member, number: int, names: int, size: int) -> None:
        name = os.fsencode(member.name) + b"\0"
        if len(name) > PATH_MAX:
            raise ArchiveError(f"the path {member.name[:60]}… is longer than {PATH_MAX - 1} bytes; shorten it")
        if size > FIELD_MAX:
            raise ArchiveError(f"{member.source} has {size >> 20} MiB, but cpio is limited to 4 GiB a file; split it")
        mtime = self._mtime if member.mode else 0
        fields = (number, member.mode, 0, 0, names, mtime, size, 0, 0, 0, 0, len(name), 0)
        self._put(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        self._pad(4)

    def _copy(self, source: IO[bytes], size: int, path: str) -> None:
        copied = 0
        # Ask for one byte more: a file that has grown is as inconsistent as one that has shrunk.
        while data := source.read(min(CHUNK, size - copied + 1)):
            copied += len(data)
            if copied > size:
                break
            self._put(data)
        if copied != size:
            raise ArchiveError(f"{path} changed while it was being read; try again when nothing writes to it")

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._length += len(data)

    def _pad(self, to: int) -> None:
        self._put(bytes(-self._length % to))
