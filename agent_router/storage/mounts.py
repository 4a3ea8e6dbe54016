"""Mount partitions of a disk, by device node or by offset, visible to this process only.

In a private mount namespace: if the plugin is killed, the kernel unmounts. Never below the working directory, which
the agent deletes afterwards.
"""

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent_router import plugin
from agent_router.storage import blockdev
from agent_router.storage.table import Partition

CLONE_NEWNS = 0x00020000  # linux/sched.h
LINKS_MAX = 40  # the kernel's own limit


def go_private() -> None:
    """From here on, mounts are private to this process. Call once, before starting a thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise plugin.Failed("mount_failed", f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    plugin.tool("mount", "--make-rprivate", "/")


@contextlib.contextmanager
def mounted(source: str, options: list[str] | None = None) -> Iterator[Path]:
    """The directory where `source` is mounted; raises Failed("tool_failed") if it cannot be."""
    place = Path(tempfile.mkdtemp(prefix="agent-router-", dir="/tmp"))
    try:
        plugin.tool("mount", *(["--options", ",".join(options)] if options else []), source, place)
        try:
            yield place
        finally:
            plugin.tool("umount", place)
    finally:
        place.rmdir()


def mounted_partition(device: str, partition: Partition) -> contextlib.AbstractContextManager[Path]:
    node = node_of(device, partition.number)
    if node:
        return mounted(node)
    return mounted(device, ["loop", f"offset={partition.start}", f"sizelimit={partition.size}"])


def node_of(device: str, number: int) -> str | None:
    """For example /dev/sda1, if the kernel has that partition."""
    for name in blockdev.partitions(blockdev.kernel_name(device)):
        if blockdev.read_int(blockdev.sysfs(name) / "partition") == number:
            return f"/dev/{name}"
    return None


def inside(root: Path, path: str) -> Path:
    """Resolve `path` with `root` as the root directory: links in a mounted image must not lead outside."""
    done, left, links = root, _parts(path), 0
    while left:
        part = left.pop(0)
        if part == "..":
            done = done if done == root else done.parent
            continue
        here = done / part
        if here.is_symlink():
            links += 1
            if links > LINKS_MAX:
                raise plugin.InvalidRequest("bad_path", f"{path} has too many levels of symbolic links")
            target = os.readlink(here)
            done = root if target.startswith("/") else done
            left = _parts(target) + left
            continue
        done = here
    return done


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
