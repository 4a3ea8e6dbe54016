"""A directory tree as entries of an archive: modes that nobody but root can write by, links as they are."""

import os
import stat
from collections.abc import Iterator

from agent_router.ramdisk.cpio import ArchiveError, Entry

KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device", stat.S_IFDIR: "a directory",
}  # fmt: skip


def kind(mode: int) -> str:
    """What a thing that is no regular file is called."""
    return KINDS.get(stat.S_IFMT(mode), "not a file")


def safe_mode(mode: int) -> int:
    """The mode without write permission for group and others; a sticky directory (/tmp) keeps it."""
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        return mode
    return mode & ~(stat.S_IWGRP | stat.S_IWOTH)


def entries(root: str, prefix: str) -> Iterator[Entry]:
    """Everything below `root`, named below `prefix`; `root` itself is not among it. In no order.

    ArchiveError for what a ramdisk cannot be given, OSError for what cannot be read.
    """
    left = [(root, prefix)]
    while left:
        directory, place = left.pop()
        for name in os.listdir(directory):
            entry = _entry(f"{directory}/{name}", f"{place}/{name}")
            if stat.S_ISDIR(entry.mode):
                left.append((f"{directory}/{name}", entry.name))
            yield entry


def _entry(path: str, name: str) -> Entry:
    info = os.lstat(path)
    mode = safe_mode(info.st_mode)
    if stat.S_ISLNK(mode):
        return Entry(name, stat.S_IFLNK | 0o777, target=os.readlink(path))
    if stat.S_ISREG(mode):
        return Entry(name, mode, source=path, inode=(info.st_dev, info.st_ino) if info.st_nlink > 1 else None)
    if stat.S_ISDIR(mode):
        return Entry(name, mode)
    raise ArchiveError(f"{path} is {kind(mode)}; take it out, only files, directories and links can be packed")
