"""What udev knows of a block device, read from its database."""

from pathlib import Path

from agent_router.storage.blockdev import SYS, read, sysfs

UDEV_DATA = Path("/run/udev/data")


def udev(name: str, data: Path = UDEV_DATA, sys: Path = SYS) -> dict[str, str]:
    """udev's properties of a block device, read from its database (as udevadm info does); {} without udev."""
    text = read(data / f"b{read(sysfs(name, sys) / 'dev')}") or ""
    return dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("E:") and "=" in line)
