"""The disk that a system is put on: chosen by Ironic's hints, or the smallest of at least 4 GiB.

`choose` decides from facts alone; `find` asks the machine, and takes only what the agent's device
list allows.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

from agent_router import plugin
from agent_router.plugin import devices
from agent_router.storage import hints, lsblk
from agent_router.storage.udev import udev

SMALLEST = 4 << 30
# Of lsblk's type disk too, but memory, floppies and the boot areas of eMMC.
NO_DISK = re.compile(r"(ram|zram|fd)\d+|mmcblk\d+(boot\d+|rpmb)")
SHOWN = ("model", "serial", "wwn")


def find(request: dict[str, Any]) -> str:
    """The device path, e.g. /dev/sda. Raises InvalidRequest, Refused or Failed("no_root_device").

    Read are `instance_root_device`, else `root_device` (hints), and `skip_block_devices`.
    """
    wanted = request.get("instance_root_device") or request.get("root_device") or {}
    found = disks()
    fitting = choose(found, wanted, request.get("skip_block_devices") or [])
    if not fitting:
        raise plugin.Failed("no_root_device", _nothing(found, wanted))
    patterns = devices.patterns_of(os.environ.get("AGENT_DEVICES", ""))
    refusals = []
    for name in fitting:
        refusal = devices.refusal(name, patterns)
        if not refusal:
            plugin.log(f"the root device is {name}, of {', '.join(fitting)}")
            return name
        refusals.append(refusal)
    raise plugin.Refused("device_not_allowed", "; ".join(refusals))


def choose(found: list[dict[str, Any]], wanted: dict[str, Any], skip: list[dict[str, Any]]) -> list[str]:
    """Names of the disks that would do, best first."""
    left = [disk for disk in found if not skipped(disk, skip)]
    if wanted:
        return [disk["name"] for disk in left if hints.matches(disk, wanted)]
    large = [disk for disk in left if disk["size"] >= SMALLEST]
    return [disk["name"] for disk in sorted(large, key=lambda disk: (disk["size"], disk["name"]))]


def skipped(disk: dict[str, Any], skip: list[dict[str, Any]]) -> bool:
    """Whether an entry of properties.skip_block_devices is about this disk, or this RAID array by its name."""
    for entry in skip:
        if "volume_name" in entry:
            if os.path.realpath(f"/dev/md/{entry['volume_name']}") == disk["name"]:
                return True
        elif hints.matches(disk, entry):
            return True
    return False


def disks() -> list[dict[str, Any]]:
    """Disks, RAID arrays and multipath devices, each once, in the order of lsblk."""
    paths = lsblk.links("by-path")
    found: dict[str, dict[str, Any]] = {}
    for node in _devices(lsblk.tree(probe=False)):
        found.setdefault(node["kname"], describe(node, udev(node["kname"]), paths))
    return list(found.values())


def _devices(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        children = node.get("children") or []
        # A path of a multipath device is reached through it.
        if is_disk(node) and not any(child["type"] == "mpath" for child in children):
            yield node
        yield from _devices(children)


def is_disk(node: dict[str, Any]) -> bool:
    if not lsblk.number(node.get("size")):
        return False
    kind = node["type"]
    return kind == "mpath" or kind.startswith("raid") or (kind == "disk" and not NO_DISK.fullmatch(node["kname"]))


def describe(node: dict[str, Any], known: dict[str, str], paths: dict[str, list[str]]) -> dict[str, Any]:
    """What hints are compared with; size in bytes. serial and wwn as lsblk and as udev say them."""
    name = node["kname"]

    def both(column: str, *keys: str) -> list[str]:
        told = [lsblk.text(node.get(column))]
        told += [known.get(f"ID_{key}") or known.get(f"DM_{key}") for key in keys]
        return list(dict.fromkeys(filter(None, told)))

    return {
        "name": f"/dev/{name}",
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
    }  # fmt: skip


def _nothing(found: list[dict[str, Any]], wanted: dict[str, Any]) -> str:
    what = f"No disk matches the root device hints {wanted}" if wanted else "No disk has at least 4 GiB"
    return f"{what}; there are: {'; '.join(map(shown, found)) or 'none'}"


def shown(disk: dict[str, Any]) -> str:
    """/dev/sda (20.0 GiB, model Acme, serial 1, 2)"""
    facts = [f"{disk['size'] / hints.GIB:.1f} GiB"]
    for key in SHOWN:
        value = disk.get(key)
        if value:
            facts.append(f"{key} {', '.join(value) if isinstance(value, list) else value}")
    return f"{disk['name']} ({', '.join(facts)})"
