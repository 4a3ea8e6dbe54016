"""Is this the ramdisk? What would end or change a machine for good is refused anywhere else."""

from pathlib import Path

from agent_router import plugin

MARKER = "usr/share/agent-router/version"  # written when the ramdisk is built, and by nothing else


def refuse_elsewhere(root: Path) -> None:
    """Raise Refused("not_in_ramdisk") unless `root` is the root directory of the ramdisk."""
    if not (root / MARKER).is_file():
        message = f"this is not the utility ramdisk ({root / MARKER} is not there), so nothing is done"
        raise plugin.Refused("not_in_ramdisk", message)
