"""Block devices from lsblk, normalised: bytes, booleans, null for unknown."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.storage.udev import UDEV_DATA

# NAME makes lsblk print a tree; without it the list is flat.
COLUMNS = (
    "NAME,KNAME,TYPE,SIZE,MODEL,SERIAL,WWN,VENDOR,REV,ROTA,RO,RM,TRAN,HCTL,LOG-SEC,PHY-SEC,START,"
    "PTTYPE,PTUUID,PARTTYPE,PARTLABEL,PARTUUID,FSTYPE,LABEL,UUID,MOUNTPOINTS"
)
DEV = Path("/dev")


def tree(*devices: str, probe: bool = True) -> list[dict[str, Any]]:
    """lsblk's JSON tree, with `children`; of all devices, or of those given.

    `probe`: without udev, probe the devices for file systems.
    """
    # --all: include loop devices without a file and empty card readers.
    text = plugin.tool("lsblk", "--json", "--bytes", "--all", "--output", COLUMNS, *devices)
    try:
        found: list[dict[str, Any]] = json.loads(text)["blockdevices"]
    except (ValueError, KeyError, TypeError):
        raise plugin.Failed("tool_failed", f"lsblk did not print JSON but: {text[:200]}") from None
    if probe and not UDEV_DATA.is_dir():
        for node in _walk(found):
            _probe(node)
    return found


def _walk(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        yield node
        yield from _walk(node.get("children", []))


def _probe(node: dict[str, Any]) -> None:
    """Without udev lsblk knows no file systems, so use blkid, which reads the device."""
    if not node.get("size") or node.get("fstype") or node.get("pttype"):
        return
    try:
        # blkid(8): 2, nothing recognised; 8, several conflicting signatures.
        text = plugin.tool("blkid", "--probe", "--output", "export", f"/dev/{node['kname']}", ok=(0, 2, 8))
    except plugin.Failed as error:
        plugin.warn(f"{node['kname']}: {error.message}")
        return
    # The export format is shell-escaped: "hello\\ world".
    lines = (re.sub(r"\\(.)", r"\1", line) for line in text.splitlines() if "=" in line)
    found = dict(line.split("=", 1) for line in lines)
    for key, tag in (
        ("fstype", "TYPE"),
        ("label", "LABEL"),
        ("uuid", "UUID"),
        ("pttype", "PTTYPE"),
        ("ptuuid", "PTUUID"),
    ):
        node[key] = node.get(key) or found.get(tag)


def links(kind: str, dev: Path = DEV) -> dict[str, list[str]]:
    """Links below /dev/disk/`kind` (by-id, by-path) by kernel name; full paths, sorted."""
    found: dict[str, list[str]] = {}
    directory = dev / "disk" / kind
    if directory.is_dir():
        for link in sorted(directory.iterdir()):
            found.setdefault(link.resolve().name, []).append(str(link))
    return found


def text(value: Any) -> str | None:
    """lsblk pads SCSI names with blanks and prints "" for unknown."""
    return str(value).strip() or None if value is not None else None


def number(value: Any) -> int | None:
    """lsblk before 2.36 writes numbers as strings."""
    return None if value in (None, "") else int(value)


def flag(value: Any) -> bool:
    return value in (True, 1, "1")
