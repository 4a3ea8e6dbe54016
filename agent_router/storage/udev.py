"""udev's properties of block devices, read from its database, as udevadm info does."""

from pathlib import Path

from agent_router.storage.blockdev import SYS, read, sysfs

UDEV_DATA = Path("/run/udev/data")


def properties(name: str, data: Path = UDEV_DATA, sys: Path = SYS) -> dict[str, str]:
    """By the kernel's name of the device; {} where udev does not run."""
    text = read(data / f"b{read(sysfs(name, sys) / 'dev')}") or ""
    return dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("E:") and "=" in line)
