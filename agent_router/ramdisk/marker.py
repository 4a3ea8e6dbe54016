"""Is this the ramdisk? Anything that would stop or change a machine for good is refused elsewhere."""

from pathlib import Path

from agent_router import plugin

MARKER = "usr/share/agent-router/version"  # written by the ramdisk build and by nothing else


def refuse_elsewhere(root: Path) -> None:
    """Raise Refused("not_in_ramdisk") unless `root` is the root directory of the ramdisk."""
    if not (root / MARKER).is_file():
        message = f"this is not the utility ramdisk ({root / MARKER} is missing), so nothing was done"
        raise plugin.Refused("not_in_ramdisk", message)
