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
        nodes.append(
            {
                "name": name,
                "kname": name,
                "type": "disk",
                "size": size,
                "rota": False,
                "ro": False,
                **facts.get(name, {}),
            }
        )
    fake_tool("lsblk", stdout=json.dumps({"blockdevices": nodes}))
    call.extra_env["AGENT_DEVICES"] = ",".join(disks)


def remembering(call: Caller, state: Path) -> Path:
    """A state directory for the calls that follow; returns the file of the deployment."""
    call.extra_env["AGENT_STATE_DIR"] = str(state)
    return state / "plugins/deployment.json"


def table_of(disk: str) -> dict[str, Any]:
    done = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["partitiontable"]


def partitions(place: Path | str, *lines: str, label: str = "gpt") -> None:
    """A new partition table, of lines as sfdisk takes them. Not by sgdisk: it sleeps for a second after each write."""
    script = "\n".join([f"label: {label}", *lines]) + "\n"
    argv = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(place)]
    subprocess.run(argv, input=script, text=True, check=True, capture_output=True)


def gpt_image(path: Path, size_mib: int = 8, *lines: str) -> bytes:
    """A raw image with a GPT; one partition if nothing else is said."""
    path.write_bytes(bytes(size_mib * MIB))
    partitions(path, *(lines or ("start=2048",)))
    return path.read_bytes()


def msdos_image(path: Path, size_mib: int, *lines: str) -> bytes:
    path.write_bytes(bytes(size_mib * MIB))
    partitions(path, "label-id: 0x3f2a91c4", *lines, label="dos")
    return path.read_bytes()
