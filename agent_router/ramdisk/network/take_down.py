"""Take the machine off its networks for good: no one must be able to reach it any more.

`run` and `root` have no defaults on purpose: a test cannot forget to pass its own.
"""

from collections.abc import Callable
from pathlib import Path

from agent_router.ramdisk.marker import MARKER

RunCommand = Callable[[list[str]], object]
LOOPBACK = "lo"


def interfaces(root: Path) -> list[str]:
    """Every network interface but loopback."""
    # The directory may also hold files, such as bonding_masters.
    return sorted(path.name for path in (root / "sys/class/net").iterdir() if path.is_dir() and path.name != LOOPBACK)


def take_down(root: Path, run: RunCommand) -> None:
    """Does nothing outside the ramdisk. An interface that fails to go down does not keep the others up."""
    if not (root / MARKER).is_file():
        return
    for name in interfaces(root):
        run(["ip", "link", "set", "dev", name, "down"])
