"""Loop disks that a plugin which chooses disks by itself takes for the only ones of the machine."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.plugin import Caller

MIB = 1 << 20


def only_disks(call: Caller, fake_tool: Callable[..., Any], *disks: str, **facts: dict[str, Any]) -> None:
    """Two walls: lsblk lists only these loop devices, and the device list allows only them.

    `facts` are columns of lsblk by kernel name: loop0={"serial": "S1"}.
    """
    assert all(disk.startswith("/dev/loop") for disk in disks)
    nodes = []
    for disk in disks:
        name = Path(disk).name
        size = int(Path(f"/sys/class/block/{name}/size").read_text()) * 512
        nodes.append({"name": name, "kname": name, "type": "disk", "size": size, "rota": False, "ro": False,
                      **facts.get(name, {})})  # fmt: skip
    fake_tool("lsblk", stdout=json.dumps({"blockdevices": nodes}))
    call.extra_env["AGENT_DEVICES"] = ",".join(disks)


def remembering(call: Caller, state: Path) -> Path:
    """A state directory for the calls that follow; returns the file of the deployment."""
    call.extra_env["AGENT_STATE_DIR"] = str(state)
    return state / "plugins/deployment.json"


def table_of(disk: str) -> dict[str, Any]:
    done = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["partitiontable"]


def gpt_image(path: Path, size_mib: int = 8, *commands: str, sector: int = 512) -> bytes:
    """A raw image with a GPT, made by sgdisk; `commands` are its options."""
    path.write_bytes(bytes(size_mib * MIB))
    subprocess.run(["sgdisk", *(commands or ("--new=1:2048:0",)), str(path)], check=True, capture_output=True)
    return path.read_bytes()


def msdos_image(path: Path, size_mib: int, *lines: str) -> bytes:
    path.write_bytes(bytes(size_mib * MIB))
    script = "\n".join(["label: dos", "label-id: 0x3f2a91c4", *lines]) + "\n"
    subprocess.run(["sfdisk", str(path)], input=script, text=True, check=True, capture_output=True)
    return path.read_bytes()
