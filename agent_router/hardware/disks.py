"""`disks` of the inventory: lsblk, supplemented by udev's properties where udev runs."""

import re
from typing import Any

from agent_router.storage import lsblk
from agent_router.storage.udev import udev

# Boot and replay-protected partitions of eMMC look like disks, but cannot hold a system.
NO_DISK = re.compile(r"(ram|zram|loop|md|nbd|fd)\d+|mmcblk\d+(boot\d+|rpmb)")


def disks() -> list[dict[str, Any]]:
    """All disks that could hold a system, in lsblk's order."""
    paths = lsblk.links("by-path")
    return [describe(node, udev(node["kname"]), paths) for node in lsblk.tree(probe=False) if is_disk(node)]


def is_disk(node: dict[str, Any]) -> bool:
    """Of lsblk's type disk, with a size, and not memory."""
    return node["type"] == "disk" and bool(lsblk.number(node.get("size"))) and not NO_DISK.fullmatch(node["kname"])


def describe(node: dict[str, Any], properties: dict[str, str], paths: dict[str, list[str]]) -> dict[str, Any]:
    """One disk: from lsblk, else from udev, else null."""
    name = node["kname"]
    return {
        "name": f"/dev/{name}",
        "model": lsblk.text(node.get("model")) or lsblk.text(properties.get("ID_MODEL")),
        "size": lsblk.number(node.get("size")),
        "rotational": lsblk.flag(node.get("rota")),
        "wwn": properties.get("ID_WWN") or lsblk.text(node.get("wwn")),
        "serial": lsblk.text(node.get("serial")) or properties.get("ID_SERIAL_SHORT"),
        "vendor": lsblk.text(node.get("vendor")) or properties.get("ID_VENDOR"),
        "wwn_with_extension": properties.get("ID_WWN_WITH_EXTENSION"),
        "wwn_vendor_extension": properties.get("ID_WWN_VENDOR_EXTENSION"),
        "hctl": lsblk.text(node.get("hctl")),
        "by_path": next(iter(paths.get(name, [])), None),
        "logical_sectors": lsblk.number(node.get("log-sec")) or 512,
        "physical_sectors": lsblk.number(node.get("phy-sec")) or 512,
        "tran": lsblk.text(node.get("tran")),
    }
