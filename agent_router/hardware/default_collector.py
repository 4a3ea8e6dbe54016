"""The "default" collector of an inspection: the inventory, root disk, boot interface and configuration."""

import re
from pathlib import Path
from typing import Any

from agent_router import __version__, plugin
from agent_router.hardware import lldp
from agent_router.hardware.inventory import inventory
from agent_router.ramdisk import kernel_parameters
from agent_router.storage import disks, root_device
from agent_router.storage.blockdev import PROC, read


def inspect(request: dict[str, Any], proc: Path = PROC) -> dict[str, Any]:
    """{"inventory", "configuration"}, and "root_disk" and "boot_interface" if there is one."""
    given = kernel_parameters.parse(read(proc / "cmdline") or "")
    found = inventory({})
    if not found["interfaces"]:
        plugin.warn("this machine has no network interface, and Ironic accepts no inventory without one")
    if request.get("lldp", is_true(given.get("ipa-collect-lldp", ""))):
        heard = lldp.listen(lldp.listen_s(given))
        for interface in found["interfaces"]:
            interface["lldp"] = heard.get(interface["name"])
    data = {
        "inventory": found,
        "root_disk": root_disk(found["disks"]),
        "boot_interface": mac(found["boot"]["pxe_interface"] or ""),
        "configuration": configuration(given),
    }
    return {key: value for key, value in data.items() if value is not None}


def is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "on", "yes")


def root_disk(inventory_disks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The disk that a deployment without hints would use."""
    best = root_device.choose(disks.disks(), {}, [])[:1] if inventory_disks else []
    return next((disk for disk in inventory_disks if disk["name"] in best), None)


def mac(bootif: str) -> str | None:
    """The MAC address in BOOTIF, which pxelinux prefixes with the ARP hardware type (01-52-54-…)."""
    match = re.fullmatch(r"(?:[0-9a-f]{2}:)?((?:[0-9a-f]{2}:){5}[0-9a-f]{2})", bootif.lower().replace("-", ":"))
    return match[1] if match else None


def configuration(given: dict[str, str]) -> dict[str, Any]:
    """The collectors requested on the kernel command line, and this agent."""
    wanted = given.get("ipa-inspection-collectors") or "default"
    return {
        "collectors": [name.strip() for name in wanted.split(",") if name.strip()],
        "managers": [{"name": "agent-router", "version": __version__}],
    }
