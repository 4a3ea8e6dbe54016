"""A directory tree as members of an archive: writable by root only, links kept as they are."""

import os
import stat
from collections.abc import Iterator

from agent_router.overlay.cpio import ArchiveError, Member

KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device", stat.S_IFDIR: "a directory",
}  # fmt: skip


def kind(mode: int) -> str:
    """A name for anything that is not a regular file."""
    return KINDS.get(stat.S_IFMT(mode), "not a file")


def safe_mode(mode: int) -> int:
    """The mode without write permission for group and others; a sticky directory (/tmp) keeps its mode."""
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        return mode
    return mode & ~(stat.S_IWGRP | stat.S_IWOTH)


def members(root: str, prefix: str) -> Iterator[Member]:
    """Everything below `root`, named below `prefix`, without `root` itself; in no particular order.

    ArchiveError for what cannot be packed, OSError for what cannot be read.
    """
    left = [(root, prefix)]
    while left:
        directory, place = left.pop()
        for name in os.listdir(directory):
            member = _member(f"{directory}/{name}", f"{place}/{name}")
            if stat.S_ISDIR(member.mode):
                left.append((f"{directory}/{name}", member.name))
            yield member


def _member(path: str, name: str) -> Member:
    info = os.lstat(path)
    mode = safe_mode(info.st_mode)
    if stat.S_ISLNK(mode):
        return Member(name, stat.S_IFLNK | 0o777, target=os.readlink(path))
    if stat.S_ISREG(mode):
        return Member(name, mode, source=path, inode=(info.st_dev, info.st_ino) if info.st_nlink > 1 else None)
    if stat.S_ISDIR(mode):
        return Member(name, mode)
    raise ArchiveError(f"{path} is {kind(mode)}; remove it, only files, directories and links can be packed")
