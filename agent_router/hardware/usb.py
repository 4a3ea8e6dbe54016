"""`usb_devices` of an inspection: the USB devices except hubs, from sysfs."""

from pathlib import Path
from typing import Any

from agent_router.storage.blockdev import SYS, read, read_int

# https://www.usb.org/defined-class-codes
HUB = "09"


def usb_devices(request: dict[str, Any]) -> dict[str, Any]:
    """{"usb_devices": [...]}, sorted by bus and device number; [] on a machine without USB."""
    return {"usb_devices": devices()}


def devices(sys: Path = SYS) -> list[dict[str, str]]:
    directory = sys / "bus/usb/devices"
    paths = [path for path in directory.iterdir() if is_final(path)] if directory.is_dir() else []
    return [describe(path) for path in sorted(paths, key=place)]


def is_final(path: Path) -> bool:
    """Neither an interface of a device (1-2:1.0; it has no bDeviceClass) nor a hub (usb1, 1-4)."""
    return read(path / "bDeviceClass") not in (None, HUB)


def place(path: Path) -> tuple[int, int]:
    return read_int(path / "busnum"), read_int(path / "devnum")


def describe(path: Path) -> dict[str, str]:
    bus, number = place(path)
    return {
        "vendor": read(path / "manufacturer") or "",
        "product": read(path / "product") or "",
        "handle": f"USB:{bus}:{number}",  # as lshw writes it
        "vendor_id": read(path / "idVendor") or "",
        "product_id": read(path / "idProduct") or "",
    }
