"""What was deployed in this boot: written by the step that writes the image, read by the commands after it.

Ironic's install_bootloader and get_partition_uuids do not say which disk or image they mean. One
small JSON file below the agent's state directory, which lives as long as the boot.
"""

import json
import os
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.linux import files

FILE = "plugins/deployment.json"


def path() -> Path | None:
    """Where it is; None if the plugin was not started by an agent."""
    state = os.environ.get("AGENT_STATE_DIR", "")
    return Path(state, FILE) if state else None


def remember(facts: dict[str, Any]) -> None:
    """Replace what was remembered. `facts` has device, root_uuid (or null), image_id."""
    file = path()
    if file is None:
        plugin.warn("AGENT_STATE_DIR is not set: the commands that follow will not know this deployment")
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.replace(file, json.dumps(facts))


def forget() -> None:
    """Before an image is written: if that fails, nothing is deployed."""
    file = path()
    if file is not None:
        file.unlink(missing_ok=True)


def recall() -> dict[str, Any] | None:
    """What remember() was given; None if nothing was deployed in this boot."""
    file = path()
    if file is None:
        return None
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise plugin.Failed("state_damaged", f"{file} is damaged; deploy again") from None
    return facts


def disk_identifier(device: str) -> str:
    """Ironic's root UUID of a whole-disk image: the disk signature of the boot record, 0x and 8 digits."""
    with open(device, "rb") as disk:
        disk.seek(440)  # UEFI Specification, 5.2.1: Unique MBR Disk Signature
        return f"0x{int.from_bytes(disk.read(4), 'little'):08x}"
