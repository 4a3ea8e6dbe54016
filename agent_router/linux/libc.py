"""The few system calls that Python does not offer."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_NAME, PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 15, 1, 36
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
FAN_CLOEXEC, FAN_NONBLOCK, FAN_CLASS_CONTENT = 1, 2, 4
FAN_MARK_ADD, FAN_MARK_REMOVE, FAN_OPEN_PERM, FAN_ALLOW = 1, 2, 0x10000, 1
FAN_EVENT, FAN_ANSWER = struct.Struct("=IBBHQii"), struct.Struct("=iI")  # event and response of linux/fanotify.h
IN_MODIFY, IN_NONBLOCK, IN_CLOEXEC = 0x2, 0o4000, 0o2000000


def return_large_memory() -> None:
    """Let malloc give blocks of 256 KiB and more back at once, instead of learning to keep them."""
    _libc.mallopt(M_MMAP_THRESHOLD, 256 << 10)
    _libc.mallopt(M_TRIM_THRESHOLD, 256 << 10)


def prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Inotify:
    """Which watched files were written to since the last look."""

    def __init__(self) -> None:
        self.fd: int = _libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")

    def add(self, path: str) -> int:
        """Watch a directory for writes; -1 if the kernel has no watch left (the 1 s look remains)."""
        return int(_libc.inotify_add_watch(self.fd, path.encode(), IN_MODIFY))

    def remove(self, watch: int) -> None:
        _libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> set[int]:
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return set()
        return set(_watches(data))


class OpenGuard:
    """Hear of each open(2) of some files before it happens, and let it happen then (fanotify(7)); needs root."""

    def __init__(self) -> None:
        self.fd: int = _libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")

    def add(self, fd: int) -> None:
        _libc.fanotify_mark(self.fd, FAN_MARK_ADD, ctypes.c_uint64(FAN_OPEN_PERM), fd, None)

    def remove(self, fd: int) -> None:
        _libc.fanotify_mark(self.fd, FAN_MARK_REMOVE, ctypes.c_uint64(FAN_OPEN_PERM), fd, None)

    def read(self) -> list[tuple[int, int]]:
        """(descriptor of the file, pid of who opens it); each must be allowed."""
        try:
            data = os.read(self.fd, 4096)
        except BlockingIOError:
            return []
        found, offset = [], 0
        while offset < len(data):
            length, _, _, _, _, fd, pid = FAN_EVENT.unpack_from(data, offset)
            if fd >= 0:
                found.append((fd, pid))
            offset += length
        return found

    def allow(self, fd: int) -> None:
        with contextlib.suppress(OSError):  # who wanted it was killed meanwhile
            os.write(self.fd, FAN_ANSWER.pack(fd, FAN_ALLOW))
        os.close(fd)


def punch_hole(fd: int, length: int) -> None:
    """Free the first `length` bytes of a file without moving the rest (fallocate(2)); where that cannot be, nothing."""
    _libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(length))


def detach(path: str) -> None:
    """Take a mount away from the tree, also one that is in use (umount2(2)); what cannot be, stays."""
    _libc.umount2(os.fsencode(path), MNT_DETACH | UMOUNT_NOFOLLOW)


def _watches(data: bytes) -> Iterator[int]:
    offset = 0
    while offset < len(data):
        watch, _, _, length = struct.unpack_from("iIII", data, offset)
        offset += 16 + length
        yield watch


def _argv_area() -> tuple[int, int]:
    fields = _stat_fields()
    return int(fields[45]), int(fields[46])  # arg_start, arg_end of proc(5), counted after comm


def set_title(title: str) -> None:
    """Show `title` in ps and top instead of the command line this process was forked with."""
    start, end = _title_area()
    text = title.encode()[: end - start - 1]
    if end > start:
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
    _libc.prctl(PR_SET_NAME, ctypes.c_char_p(title.encode()[:15]), 0, 0, 0)


def forget_variable(name: str) -> None:
    """Take a variable out of this process and out of what /proc/PID/environ shows of it and of its forks."""
    value = os.environ.pop(name, None)
    fields = _stat_fields()
    if value is None or len(fields) < 49:
        return
    start, end = int(fields[47]), int(fields[48])  # env_start, env_end
    at = b"\0" + ctypes.string_at(start, end - start)
    text = os.fsencode(f"{name}={value}")
    place = at.find(b"\0" + text + b"\0")
    if place >= 0:
        ctypes.memset(start + place, 0, len(text))


def _stat_fields() -> list[bytes]:
    with open("/proc/self/stat", "rb") as file:
        return file.read().rsplit(b")", 1)[1].split()


_area: tuple[int, int] | None = None


def _title_area() -> tuple[int, int]:
    global _area
    if _area is None:
        try:
            _area = _argv_area()
        except (OSError, ValueError, IndexError):
            _area = (0, 0)
    return _area
