"""The response of disk.list: block devices with their partitions, content and users."""

from typing import Any

from agent_router.storage import blockdev, lsblk


def disk_list(request: dict[str, Any]) -> dict[str, Any]:
    """{"disks": [...]}, the top-level devices of the requested types."""
    types = request.get("types", ["disk"])
    ids = lsblk.links("by-id")
    return {"disks": [describe(node, ids) for node in lsblk.tree() if wanted(node, types)]}


def wanted(node: dict[str, Any], types: list[str]) -> bool:
    """By lsblk's type, without memory and devices of size 0 (no medium, loop device without a file)."""
    if not lsblk.number(node.get("size")) or node["kname"].startswith(("ram", "zram")):
        return False
    # lsblk has a type for each RAID level (raid1, raid10 …).
    kind = "raid" if node["type"].startswith("raid") else node["type"]
    return kind in types


def describe(node: dict[str, Any], ids: dict[str, list[str]]) -> dict[str, Any]:
    """One top-level device, as in the response schema."""
    return {
        **_content(node, ids),
        "type": node["type"],
        "model": lsblk.text(node.get("model")),
        "vendor": lsblk.text(node.get("vendor")),
        "serial": lsblk.text(node.get("serial")),
        "firmware": lsblk.text(node.get("rev")),
        "wwn": lsblk.text(node.get("wwn")),
        "tran": lsblk.text(node.get("tran")),
        "rotational": lsblk.flag(node.get("rota")),
        "removable": lsblk.flag(node.get("rm")),
        "read_only": lsblk.flag(node.get("ro")),
        "logical_sector_bytes": lsblk.number(node.get("log-sec")) or 512,
        "physical_sector_bytes": lsblk.number(node.get("phy-sec")) or 512,
        "partition_table": lsblk.text(node.get("pttype")),
        "partition_table_uuid": lsblk.text(node.get("ptuuid")),
        "partitions": [_partition(child, ids) for child in _children(node, "part")],
    }


def _children(node: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [child for child in node.get("children", []) if child["type"] == kind]


def _partition(node: dict[str, Any], ids: dict[str, list[str]]) -> dict[str, Any]:
    start = lsblk.number(node.get("start"))
    if start is None:  # lsblk before 2.38 has no such column
        start = blockdev.read_int(blockdev.sysfs(node["kname"]) / "start")
    return {
        **_content(node, ids),
        "start_bytes": start * blockdev.SYSFS_SECTOR,
        "partition_type": lsblk.text(node.get("parttype")),
        "partition_label": lsblk.text(node.get("partlabel")),
        "partition_uuid": lsblk.text(node.get("partuuid")),
    }


def _content(node: dict[str, Any], ids: dict[str, list[str]]) -> dict[str, Any]:
    """What disks and partitions have in common: names, content and users."""
    name = node["kname"]
    return {
        "name": f"/dev/{name}",
        "by_id": ids.get(name, []),
        "size_bytes": lsblk.number(node.get("size")),
        "fs_type": lsblk.text(node.get("fstype")),
        "fs_label": lsblk.text(node.get("label")),
        "fs_uuid": lsblk.text(node.get("uuid")),
        "mountpoints": [place for place in node.get("mountpoints") or [] if place],
        "holders": [f"/dev/{holder}" for holder in blockdev.holders(name)],
    }
