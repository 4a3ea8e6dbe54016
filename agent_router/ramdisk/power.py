"""Power off or reboot the machine through its init, which lets the answer out before it stops everything.

`run` and `root` have no defaults on purpose: a test cannot forget to pass its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.ramdisk.marker import refuse_elsewhere

RunTool = Callable[..., str]
SYNC_LIMIT_S = 20
# Documentation/admin-guide/sysrq.rst; both act immediately.
SYSRQ = {"poweroff": "o", "reboot": "b"}


def down(action: str, root: Path, run: RunTool) -> dict[str, Any]:
    """`action` is poweroff or reboot; returns {"method": the program or mechanism used}."""
    refuse_elsewhere(root)
    try:
        run("sync", timeout_s=SYNC_LIMIT_S)
    except plugin.Failed as error:
        plugin.warn(f"some data may not have reached the disks: {error.message}")
    argv = command(action, systemd=(root / "run/systemd/system").is_dir())
    try:
        run(*argv)
    except plugin.Failed as error:
        plugin.log(f"{error.message}; using sysrq instead", "warning")
        (root / "proc/sysrq-trigger").write_text(SYSRQ[action])
        return {"method": "sysrq"}
    return {"method": argv[0]}


def command(action: str, *, systemd: bool) -> list[str]:
    """Both commands return immediately and leave the rest to process 1."""
    return ["systemctl", "--no-block", action] if systemd else ["busybox", action]
