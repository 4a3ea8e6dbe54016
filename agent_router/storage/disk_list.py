"""The response of disk.list: block devices with their partitions, content and users."""

from typing import Any

from agent_router.storage import blockdev, disks, lsblk

DISKS = ["disk", "mpath", "raid", "dmraid"]
OTHERS = ("loop", "rom")


def disk_list(request: dict[str, Any]) -> dict[str, Any]:
    """{"disks": [...]}, each device of the requested types once."""
    types = request.get("types") or DISKS
    ids = lsblk.links("by-id")
    found = {node["kname"]: node for node in chosen(lsblk.tree(), types)}
    return {"disks": [describe(node, ids) for node in found.values()]}


def chosen(nodes: list[dict[str, Any]], types: list[str]) -> list[dict[str, Any]]:
    """The disks, as disks.walk() knows them, and top-level loop devices and CD drives with a medium."""
    of_disks = {id(node) for node, *_ in disks.walk(nodes)}

    def inside(nodes: list[dict[str, Any]], top: bool) -> list[dict[str, Any]]:
        found = []
        for node in nodes:
            other = top and node["type"] in OTHERS and bool(lsblk.number(node.get("size")))
            if disks.kind_of(node) in types and (other or id(node) in of_disks):
                found.append(node)
            found += inside(node.get("children") or [], False)
        return found

    return inside(nodes, True)


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
