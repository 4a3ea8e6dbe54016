"""The inventory, in the format that Ironic expects under the key `inventory`."""

import os
import re
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.hardware import bmc, cpu, dmi, interfaces
from agent_router.hardware.disks import inventory_form
from agent_router.storage import disks
from agent_router.storage.blockdev import PROC, SYS, read


def inventory(request: dict[str, Any]) -> dict[str, Any]:
    """The whole inventory; unknown facts are null, 0 or "", with a warning where a tool failed."""
    total = cpu.memory_total()
    system, physical_mib = dmi.gather(total)
    try:
        found = [inventory_form(disk) for disk in disks.awaited()]
    except plugin.Failed as error:
        plugin.warn(f"cannot list disks: {error.message}")
        found = []
    return {
        "interfaces": interfaces.interfaces(),
        "cpu": cpu.cpu(),
        "disks": found,
        "memory": {"total": total, "physical_mb": physical_mib},
        "bmc_address": None,
        "bmc_v6address": None,
        **bmc.addresses(),
        "system_vendor": system,
        "boot": boot(),
        "hostname": os.uname().nodename,
    }


def boot(sys: Path = SYS, proc: Path = PROC) -> dict[str, Any]:
    """How this kernel was booted: firmware mode, and the interface that boot loaders pass as BOOTIF."""
    match = re.search(r"(?:^|\s)BOOTIF=(\S+)", read(proc / "cmdline") or "")
    return {
        "current_boot_mode": "uefi" if (sys / "firmware/efi").exists() else "bios",
        "pxe_interface": match[1] if match else None,
    }
