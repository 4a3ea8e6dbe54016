"""The mounted, empty directory that an archive is unpacked into. Until finish() a marker says it is incomplete."""

import os
import shutil
from pathlib import Path

from agent_router import plugin
from agent_router.image.destinations.scratch_space import FileScratchSpace, no_room
from agent_router.image.destinations.untar import Untar
from agent_router.image.protocols import Buffer
from agent_router.plugin import devices

MARKER = ".agent-router-incomplete"
# What mkfs leaves in a new file system.
NEW = {"lost+found", MARKER}


class Tree:
    """A Destination; what is written to it must come in order."""

    source = "the archive"
    abandoned = "was emptied again"
    holes_last = False

    def __init__(self, path: str, max_size: int | None = None, allow_devices: bool = False) -> None:
        self.path = Path(path)
        self.begun = False
        self.written = 0
        self.zeroed = 0
        self._max_size, self._allow_devices = max_size, allow_devices
        self._untar: Untar | None = None
        refuse(self.path)
        status = os.statvfs(self.path)
        self.size = status.f_bavail * status.f_frsize

    def expect(self, size: int) -> None:
        """`size` is that of the decompressed archive: its files take about that or less."""
        if self._max_size is not None and size > self._max_size:
            raise self._too_large()

    def refuse_start(self, start: Buffer) -> None:
        """Every archive may be unpacked; the members are judged one by one."""

    def begin(self, image: int = 0) -> None:
        self.begun = True
        (self.path / MARKER).touch()
        self._untar = Untar(str(self.path), self.source, self._allow_devices)

    def scratch_space(self, size: int | None, image: int) -> FileScratchSpace:
        """A file of the tree's file system for `size` bytes; what is unpacked may take less than `image` says."""
        if size is not None and size > self.size:
            raise no_room(str(self.path), size)
        return FileScratchSpace(self.path)

    def write(self, offset: int, data: Buffer) -> None:
        assert self._untar is not None
        self.written = offset + len(data)
        if self._max_size is not None and self.written > self._max_size:
            raise self._too_large()
        self._untar.write(data)

    def zero(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def finish(self) -> None:
        """The archive is verified: all of it is on the disk before the marker is removed."""
        self.flush()
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.sync()  # file systems mounted below are part of the tree, and syncfs would miss them
            (self.path / MARKER).unlink()
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def flush(self) -> None:
        """Everything written is unpacked; raises what was wrong with the archive."""
        if self._untar is not None:
            self._untar.finish()
            self.close()

    def abandon(self) -> None:
        """Remove everything again."""
        self.begun = False
        self.close()
        empty(self.path)

    def close(self) -> None:
        if self._untar is not None:
            self._untar.stop()
            self._untar = None

    def _too_large(self) -> plugin.Failed:
        return plugin.Failed("too_large", f"{self.source} unpacks to more than the {self._max_size} bytes allowed")


def refuse(path: Path) -> None:
    """Raise unless `path` is an empty, mounted file system that this agent may write to."""
    if not path.is_dir():
        raise plugin.InvalidRequest("not_a_tree", f"{path} is not a directory; mount the file system there first")
    if not os.path.ismount(path) or path.resolve() == Path("/"):
        raise plugin.Refused("not_a_tree", f"{path} is not a mount point; mount the new file system there first")
    for point, source in devices.mounts(str(path)).items():
        _refuse_mount(point, source)
    left = sorted(entry.name for entry in path.iterdir() if entry.name not in NEW and not _only_mounts(entry))
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        why = "holds the rest of an unfinished archive" if (path / MARKER).exists() else "is not empty"
        message = f"{path} {why} ({', '.join(left[:3])}{more}); make a new file system there first"
        raise plugin.Refused("not_empty", message, details={"found": left[:100]})


def _refuse_mount(point: str, source: str) -> None:
    """One file system of the tree: the disk below may be protected; one without a disk (tmpfs) needs no permission."""
    if source.startswith("/dev/"):
        reason = devices.refusal(source, devices.patterns_of(os.environ.get("AGENT_DEVICES", "")))
        if reason:
            raise plugin.Refused("protected", f"{point} is mounted from {source}: {reason}")
    if os.statvfs(point).f_flag & os.ST_RDONLY:
        raise plugin.Refused("read_only", f"the file system at {point} is mounted read-only; mount it for writing")


def clean_up(path: Path) -> None:
    """Remove what a killed command left; without the marker nothing was unpacked by this agent, or it was finished."""
    if os.path.ismount(path) and (path / MARKER).exists():
        empty(path)


def _only_mounts(path: Path) -> bool:
    """A directory that is a mount point, or holds nothing but such: /boot and /boot/efi of the new system."""
    if path.is_symlink() or not path.is_dir():
        return False
    if os.path.ismount(path):
        return all(entry.name in NEW or _only_mounts(entry) for entry in path.iterdir())
    found = list(path.iterdir())
    return bool(found) and all(map(_only_mounts, found))


def empty(path: Path) -> None:
    """Remove all below `path` but mount points, the marker last; what is mounted there is emptied too."""
    points = devices.mounts(str(path))
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name == MARKER):
        below = Path(entry.path)
        if entry.name == "lost+found":
            continue
        if not entry.is_dir(follow_symlinks=False):
            below.unlink(missing_ok=True)
        elif any(Path(point).is_relative_to(below.resolve()) for point in points):
            empty(below)
        else:
            shutil.rmtree(below)
