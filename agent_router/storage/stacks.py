"""What is built on a disk: arrays, volume groups, LUKS, bcache. Find it, and take it down from the top."""

import contextlib
import time

from agent_router import plugin
from agent_router.storage import blockdev

PATIENCE_S, INTERVAL_S = 5.0, 0.1
REMOVABLE = ("dm-", "md", "bcache")


def above(name: str) -> list[str]:
    """Kernel names of everything built on a disk, its partitions and each other, topmost first."""
    found = []
    for part in [name, *blockdev.partitions(name)]:
        for holder in blockdev.holders(part):
            found += [*above(holder), holder]
    return list(dict.fromkeys(found))


def in_use(name: str) -> list[str]:
    """Sentences on what uses a disk and cannot be taken down: mounts and swap at any height, other users of it."""
    found = []
    layers = above(name)
    for layer in [name, *layers]:
        for part in [layer, *blockdev.partitions(layer)]:
            places = blockdev.mountpoints(part)
            found += [f"{part} is in use as swap" if at == "[SWAP]" else f"{part} is mounted at {at}" for at in places]
    return found + [f"{layer} is built on it" for layer in layers if not layer.startswith(REMOVABLE)]


def take_down(names: list[str]) -> dict[str, str]:
    """Stop everything built on these disks, and erase the signatures it was made of, so that nothing brings it back.

    Returns why that was not possible, by kernel name of the disk.
    """
    members = {name: [part for part in [name, *blockdev.partitions(name)] if in_stack(part)] for name in names}
    errors = _stop([name for name in names if members[name]])
    failed = {}
    for name in names:
        left = above(name)
        try:
            if left:
                raise plugin.Failed(
                    "", f"{left[0]} on it cannot be stopped: {errors.get(left[0], 'it is still there')}"
                )
            for part in members[name]:
                plugin.tool("wipefs", "--all", "--force", f"/dev/{part}")
        except plugin.Failed as error:
            failed[name] = error.message
    return failed


def _stop(names: list[str]) -> dict[str, str]:
    """Error messages by layer. What failed is tried again: a container can be stopped once its arrays are."""
    errors: dict[str, str] = {}
    left = list(dict.fromkeys(layer for name in names for layer in above(name)))
    progress = True
    while left and progress:
        progress = False
        for layer in list(left):
            try:
                _stop_one(layer)
            except plugin.Failed as error:
                errors[layer] = error.message
            else:
                left.remove(layer)
                progress = True
    for name in names:
        for part in [name, *blockdev.partitions(name)]:
            if cached(part):
                _write_one(part, "bcache/set/stop")
    give_up = time.monotonic() + PATIENCE_S  # bcache stops after the answer
    while not left and any(map(above, names)) and time.monotonic() < give_up:
        time.sleep(INTERVAL_S)
    return errors


def _stop_one(layer: str) -> None:
    if layer.startswith("dm-"):
        plugin.tool("dmsetup", "remove", f"/dev/{layer}")
    elif layer.startswith("md"):
        plugin.tool("mdadm", "--stop", f"/dev/{layer}")
    else:
        _write_one(layer, "bcache/stop")


def release(name: str) -> None:
    """Stop everything built on a disk. What is in use stays, and is found when the disk is opened."""
    _stop([name])


def in_stack(part: str) -> bool:
    return bool(blockdev.holders(part)) or cached(part)


def cached(part: str) -> bool:
    """Whether it is the cache of a bcache, which is no holder of it."""
    return (blockdev.sysfs(part) / "bcache/set/stop").exists()


def _write_one(name: str, file: str) -> None:
    # Documentation/admin-guide/bcache.rst
    with contextlib.suppress(OSError):  # what did not stop is seen afterwards
        (blockdev.sysfs(name) / file).write_text("1")
