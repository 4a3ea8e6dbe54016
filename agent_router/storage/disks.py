"""What is a disk of this machine: the one definition, for the inventory, disk.list, the root device and erasing.

A disk of the kernel, a multipath device (its paths are none), a RAID array of Linux or of the firmware (dmraid). Never
what plugin.devices.NO_DISK names, nor what has no size.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.plugin.devices import is_no_disk
from agent_router.storage import blockdev, lsblk
from agent_router.storage.udev import udev

Disk = dict[str, Any]
Node = dict[str, Any]
PATIENCE_S, INTERVAL_S = 30.0, 1.0
IBFT, SESSIONS = "firmware/ibft", "class/iscsi_session"


def disks() -> list[Disk]:
    """Each disk once, in the order of lsblk."""
    paths, links = lsblk.links("by-path"), all_links()
    found: dict[str, Disk] = {}
    for node, below, path in walk(lsblk.tree(probe=False)):
        name = node["kname"]
        disk = found.setdefault(name, describe(node, udev(name), paths, links))
        if path:
            complete(disk, describe(path, udev(path["kname"]), paths, links))
        disk["members"] += [f"/dev/{lower}" for lower in below if f"/dev/{lower}" not in disk["members"]]
    for disk in found.values():
        for lower in disk["members"]:
            found[os.path.basename(lower)]["member_of"].append(disk["name"])
    return list(found.values())


def awaited(enough: Callable[[list[Disk]], Any] = bool) -> list[Disk]:
    """The disks as soon as they are enough, or after half a minute: controllers and networks show theirs late."""
    begin = time.monotonic()
    connect_boot_luns()
    while True:
        found = disks()
        waited = time.monotonic() - begin
        if enough(found) or waited >= PATIENCE_S:
            return found
        plugin.progress(round(waited, 1), PATIENCE_S, "s", "waiting for a suitable disk to appear")
        time.sleep(INTERVAL_S)


def connect_boot_luns(sys: Path = blockdev.SYS) -> None:
    """Log in to the iSCSI target that the firmware was told to boot from (iBFT), once."""
    if not (sys / IBFT).exists() or any((sys / SESSIONS).glob("*")):
        return
    try:
        plugin.tool("iscsistart", "-b", timeout_s=PATIENCE_S)
    except plugin.Failed as error:
        plugin.warn(f"the iSCSI disk that the firmware names (iBFT) is not connected: {error.message}")


def walk(
    nodes: list[Node], below: tuple[str, ...] = (), parent: Node | None = None
) -> list[tuple[Node, list[str], Node | None]]:
    """(lsblk's node, kernel names of the disks that it is made of, the path that leads to it) for each disk.

    A disk that is made of several, or has several paths, comes once for each.
    """
    found: list[tuple[Node, list[str], Node | None]] = []
    for node in nodes:
        children, inner = node.get("children") or [], below
        if is_disk(node, nested=parent is not None) and not any(child["type"] == "mpath" for child in children):
            found.append((node, list(below), parent if node["type"] == "mpath" else None))
            inner = (*below, node["kname"])
        found += walk(children, inner, node)
    return found


def complete(disk: Disk, path: Disk) -> None:
    """A multipath device is known by whatever any of its paths is known by: its own node has hardly any facts."""
    for key in ("links", "serial", "wwn", "by_path"):
        more = [path["name"], *path[key]] if key == "links" else path[key]
        disk[key] = [*disk[key], *(one for one in more if one not in disk[key])]
    for key in ("model", "vendor", "wwn_with_extension", "wwn_vendor_extension", "hctl", "tran"):
        disk[key] = disk[key] or path[key]


def is_disk(node: Node, nested: bool = False) -> bool:
    """`nested`: it is built on another device."""
    if not lsblk.number(node.get("size")) or is_no_disk(node["kname"]):
        return False
    kind = kind_of(node)
    return kind in ("mpath", "raid", "dmraid") or (kind == "disk" and not nested)


def kind_of(node: Node) -> str:
    """lsblk's type, but "raid" for each of its RAID levels (raid1, raid10, linear …)."""
    kind: str = node["type"]
    return "raid" if kind.startswith("raid") or kind == "linear" else kind


def all_links(dev: Path = lsblk.DEV) -> dict[str, list[str]]:
    """Every link to a block device below /dev/disk, /dev/md and /dev/mapper, by kernel name."""
    found: dict[str, list[str]] = {}
    for directory in [*sorted((dev / "disk").glob("*")), dev / "md", dev / "mapper"]:
        for link in sorted(directory.glob("*")):
            found.setdefault(link.resolve().name, []).append(str(link))
    return found


def describe(node: Node, known: dict[str, str], paths: dict[str, list[str]], links: dict[str, list[str]]) -> Disk:
    """What hints are compared with; size in bytes. serial and wwn as lsblk and as udev say them."""
    name = node["kname"]

    def both(column: str, *keys: str) -> list[str]:
        told = [lsblk.text(node.get(column))]
        told += [known.get(f"ID_{key}") or known.get(f"DM_{key}") for key in keys]
        return list(dict.fromkeys(filter(None, told)))

    return {
        "name": f"/dev/{name}",
        "links": links.get(name, []),
        "kind": kind_of(node),
        "members": [],  # paths of the disks that this one is made of
        "member_of": [],  # paths of the disks that are made of this one
        "size": lsblk.number(node.get("size")) or 0,
        "rotational": lsblk.flag(node.get("rota")),
        "read_only": lsblk.flag(node.get("ro")),
        "model": lsblk.text(node.get("model")) or lsblk.text(known.get("ID_MODEL")),
        "vendor": lsblk.text(node.get("vendor")) or known.get("ID_VENDOR"),
        "serial": both("serial", "SERIAL_SHORT", "SERIAL"),
        "wwn": both("wwn", "WWN"),
        "wwn_with_extension": known.get("ID_WWN_WITH_EXTENSION") or known.get("DM_WWN_WITH_EXTENSION"),
        "wwn_vendor_extension": known.get("ID_WWN_VENDOR_EXTENSION") or known.get("DM_WWN_VENDOR_EXTENSION"),
        "hctl": lsblk.text(node.get("hctl")),
        "by_path": paths.get(name, []),
        "tran": lsblk.text(node.get("tran")),
        "labels": [part["label"] for part in (node, *(node.get("children") or [])) if part.get("label")],
        "logical_sectors": lsblk.number(node.get("log-sec")) or 512,
        "physical_sectors": lsblk.number(node.get("phy-sec")) or 512,
    }  # fmt: skip
