"""`pci_devices` of an inspection: every PCI device, from sysfs."""

import re
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.storage.blockdev import SYS, read

HEX = re.compile(r"0x([0-9a-f]+)")


def pci_devices(request: dict[str, Any]) -> dict[str, Any]:
    """{"pci_devices": [...]}, sorted by address; [] on a machine without PCI."""
    return {"pci_devices": devices()}


def devices(sys: Path = SYS) -> list[dict[str, str | None]]:
    directory = sys / "bus/pci/devices"
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    return [device for device in map(describe, paths) if device]


def describe(path: Path) -> dict[str, str | None] | None:
    """One device, numbers as hexadecimal digits; None, after a warning, if it cannot be identified."""
    vendor, product, kind = (digits(read(path / name)) for name in ("vendor", "device", "class"))
    if not (vendor and product and kind):
        plugin.warn(f"PCI device {path.name} is skipped: vendor, product or class is missing")
        return None
    return {
        "vendor_id": vendor,
        "product_id": product,
        "bus": path.name,
        "class": kind,
        "revision": digits(read(path / "revision")),
        "numa_node_id": read(path / "numa_node") or None,  # decimal text; "-1": not specified by the firmware
    }


def digits(text: str | None) -> str | None:
    """The hexadecimal digits of a number in sysfs, such as 0x8086."""
    match = HEX.fullmatch(text or "")
    return match[1] if match else None
