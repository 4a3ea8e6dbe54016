"""Take the machine off its networks, for good: what is left of it must be reachable for nobody.

`run` and `root` have no defaults on purpose: a test cannot forget to give its own.
"""

from collections.abc import Callable
from pathlib import Path

from agent_router.ramdisk.guard import MARKER

Run = Callable[[list[str]], object]
LOOPBACK = "lo"


def interfaces(root: Path) -> list[str]:
    """Every network interface but loopback."""
    # Beside the interfaces there may be files, as bonding_masters.
    return sorted(path.name for path in (root / "sys/class/net").iterdir() if path.is_dir() and path.name != LOOPBACK)


def take_down(root: Path, run: Run) -> None:
    """Nothing anywhere but in the ramdisk. An interface that does not go down leaves no other up."""
    if not (root / MARKER).is_file():
        return
    for name in interfaces(root):
        run(["ip", "link", "set", "dev", name, "down"])
