"""Is the image that was written in this boot still on the disk? Then a second attempt need not write it again.

Believed only if nothing was written to the disk since: the kernel's counters of written and discarded sectors are what
they were, on the same disk, not one that was plugged in later under its name. No counter shows that a disk erased
itself, so samples of the content must be the same as well.
"""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.deploy import deployed
from agent_router.linux import files
from agent_router.storage import blockdev, erase

BLKFLSBUF = 0x1261  # linux/fs.h: write out what waits, and forget what was read
SAMPLES = 64
SAMPLE = 64 << 10


def still_there(device: str, mark: dict[str, Any], *, config_drive: bool) -> bool:
    """Whether remember() recorded the same about this disk, and nothing touched it since."""
    try:
        before = json.loads(_path().read_text())
    except (OSError, ValueError):
        return False
    if before["mark"] != mark or before["device"] != device:
        return False
    if before["config_drive"] and not config_drive:
        return False  # the old one would stay
    return bool(before["facts"] == _facts(device))


def remember(device: str, mark: dict[str, Any], *, config_drive: bool) -> None:
    """Everything is on the disk. Called with the lock of the node held, so nothing wrote to it since the verdict."""
    forget()
    if not deployed.path():
        return
    try:
        known = {"device": device, "mark": mark, "config_drive": config_drive, "facts": _facts(device)}
    except plugin.Failed as error:
        return plugin.log(f"a second attempt will write the image again: {error.message}", "notice")
    files.replace(_path(), json.dumps(known))


def forget() -> None:
    _path().unlink(missing_ok=True)


def _path() -> Path:
    return (deployed.path() or Path("/nonexistent/deployment.json")).with_name("image-on-disk.json")


def _facts(device: str) -> dict[str, Any]:
    directory = blockdev.sysfs(blockdev.kernel_name(device))
    fd = blockdev.open_exclusive(device)
    try:
        os.fsync(fd)
        fcntl.ioctl(fd, BLKFLSBUF)
        # Documentation/block/stat.rst: sectors written, sectors discarded.
        counters = (blockdev.read(directory / "stat") or "").split()
        return {
            "diskseq": blockdev.read(directory / "diskseq"),
            "size": os.lseek(fd, 0, os.SEEK_END),
            "written": counters[6:7],
            "discarded": counters[13:14],
            "samples": _samples(fd),
        }
    except OSError as error:
        raise plugin.Failed("write_failed", f"{device}: {error.strerror}") from None
    finally:
        os.close(fd)


def _samples(fd: int) -> str:
    state = hashlib.sha256()
    for offset in erase.sample_offsets(os.lseek(fd, 0, os.SEEK_END), SAMPLES):
        state.update(os.pread(fd, SAMPLE, offset))
    return state.hexdigest()
