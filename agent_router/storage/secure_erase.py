"""Secure erase by the disk itself: NVMe Format (nvme-cli) and ATA Security Erase (hdparm).

Sources: NVM Express Base Specification, Identify Controller (OACS, FNA); ATA/ATAPI Command Set,
security feature set; hdparm(8).
"""

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

from agent_router import plugin
from agent_router.storage import blockdev

# Set only because ATA requires one for an erase, which removes it again.
PASSWORD = "agent-router"
FROZEN = "the firmware has frozen the disk's security settings; replug the disk to unfreeze them"
LOCKED = "the disk is locked with an unknown password"


def ability(name: str) -> tuple[str | None, str]:
    """(kind, "") if the disk can erase itself, else (None, why not).

    Kinds: "nvme-crypto", "nvme-user-data", "ata", "ata-enhanced".
    """
    try:
        if blockdev.is_partition(name):
            return None, f"{name} is a partition; only whole disks support secure erase"
        if re.fullmatch(r"nvme\d+n\d+", name):
            identity = json.loads(plugin.tool("nvme", "id-ctrl", f"/dev/{name}", "--output-format=json"))
            return nvme_ability(identity, namespaces=_namespace_count(name))
        if (blockdev.read(blockdev.sysfs(name) / "device/vendor") or "").strip() == "ATA":
            return ata_ability(plugin.tool("hdparm", "-I", f"/dev/{name}"))
    except (plugin.Failed, ValueError) as error:
        return None, f"cannot query the disk: {error}"
    return None, f"{name} is neither an NVMe nor an ATA disk"


def _namespace_count(name: str) -> int:
    # "device" is the controller or, with native multipath, the subsystem; both list their namespaces.
    siblings = (blockdev.sysfs(name) / "device").glob("nvme*")
    return len([entry for entry in siblings if re.fullmatch(r"nvme\d+n\d+", entry.name)])


def nvme_ability(identity: dict[str, Any], namespaces: int) -> tuple[str | None, str]:
    """What NVMe Format can do, from `nvme id-ctrl` (JSON) and the number of namespaces."""
    if not identity.get("oacs", 0) & 0b10:
        return None, "the controller does not support the Format NVM command"
    # FNA: bit 0: format, bit 1: secure erase applies to all namespaces; bit 2: cryptographic erase is supported.
    fna = identity.get("fna", 0)
    if fna & 0b11 and namespaces > 1:
        return None, f"the controller can only erase all {namespaces} namespaces at once"
    return ("nvme-crypto" if fna & 0b100 else "nvme-user-data"), ""


def ata_ability(text: str) -> tuple[str | None, str]:
    """What ATA Security Erase can do, according to the Security section of `hdparm -I`."""
    section = re.search(r"^Security:\s*\n((?:[ \t]+.*\n?)*)", text, re.MULTILINE)
    words = [" ".join(line.split()) for line in section[1].splitlines()] if section else []
    if "supported" not in words:
        return None, "the disk does not support the ATA security feature set"
    if "frozen" in words:
        return None, FROZEN
    if "locked" in words or "enabled" in words:
        return None, LOCKED
    return ("ata-enhanced" if "supported: enhanced erase" in words else "ata"), ""


def run(kind: str, name: str, report: Callable[[float, float, str, str], None] = plugin.progress) -> None:
    """Erase. The agent must not interrupt this: a disk whose erase was cut off stays locked."""
    with plugin.critical():
        report(0, 1, "disk", f"{kind} erase; the disk reports no progress")
        if kind.startswith("nvme"):
            mode = 2 if kind == "nvme-crypto" else 1
            plugin.tool("nvme", "format", f"/dev/{name}", f"--ses={mode}", "--force")
        else:
            _ata(f"/dev/{name}", "--security-erase-enhanced" if kind == "ata-enhanced" else "--security-erase")
        report(1, 1, "disk", "erased")


def _ata(device: str, option: str) -> None:
    plugin.tool("hdparm", "--user-master", "u", "--security-set-pass", PASSWORD, device)
    try:
        plugin.tool("hdparm", "--user-master", "u", option, PASSWORD, device)
    except plugin.Failed:
        with contextlib.suppress(plugin.Failed):
            plugin.tool("hdparm", "--user-master", "u", "--security-disable", PASSWORD, device)
        raise
    kind, reason = ata_ability(plugin.tool("hdparm", "-I", device))
    if kind is None:
        raise plugin.Failed("still_locked", f"{device} is still locked after its erase: {reason}")
