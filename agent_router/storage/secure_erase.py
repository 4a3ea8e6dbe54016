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
# A disk whose erase was cut off still has the password of who began it: ours, or the empty one that other agents use,
# which hdparm(8) calls NULL. A disk allows five attempts until it is powered off.
LEFT_BEHIND = (PASSWORD, "NULL")
FROZEN = "the firmware has frozen the disk's security settings; replug the disk to unfreeze them"
EXPIRED = "the disk accepts no more passwords until it has been powered off and on"
LOCKED = (
    "a password is set on the disk that is neither this agent's nor empty; remove it with the tool of whoever set it "
    "(hdparm --security-unlock and --security-disable), or replace the disk"
)


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
        if is_ata(name):
            return ata_ability(plugin.tool("hdparm", "-I", f"/dev/{name}"))
    except (plugin.Failed, ValueError) as error:
        return None, f"cannot query the disk: {error}"
    return None, f"{name} is neither an NVMe nor an ATA disk"


def is_ata(name: str) -> bool:
    return (blockdev.read(blockdev.sysfs(name) / "device/vendor") or "").strip() == "ATA"


def unlock(name: str) -> None:
    """Make a disk writable again whose erase was cut off; raises Failed("locked"). Does nothing to any other."""
    device = f"/dev/{name}"
    try:
        locked = is_ata(name) and "locked" in _security(device)
    except plugin.Failed as error:
        plugin.log(f"cannot query {device}: {error}")
        return
    if locked:
        password = _left_behind(device, locked=True)
        with contextlib.suppress(plugin.Failed):  # some disks want to be erased first
            _hdparm("--security-disable", password, device)


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
    words = security(text)
    if "supported" not in words:
        return None, "the disk does not support the ATA security feature set"
    if "frozen" in words:
        return None, FROZEN
    if "expired: security count" in words and "enabled" in words:
        return None, EXPIRED
    return ("ata-enhanced" if "supported: enhanced erase" in words else "ata"), ""


def security(text: str) -> list[str]:
    """The lines of the Security section of `hdparm -I`: "enabled", "not locked" …"""
    section = re.search(r"^Security:\s*\n((?:[ \t]+.*\n?)*)", text, re.MULTILINE)
    return [" ".join(line.split()) for line in section[1].splitlines()] if section else []


def run(kind: str, name: str, report: Callable[[float, float, str, str], None] = plugin.progress) -> None:
    """Erase. The agent must not interrupt this: a disk whose erase was cut off stays locked until the next one."""
    with plugin.critical():
        report(0, 1, "disk", f"{kind} erase; the disk reports no progress")
        if kind.startswith("nvme"):
            mode = 2 if kind == "nvme-crypto" else 1
            plugin.tool("nvme", "format", f"/dev/{name}", f"--ses={mode}", "--force")
        else:
            _ata(f"/dev/{name}", "--security-erase-enhanced" if kind == "ata-enhanced" else "--security-erase")
        report(1, 1, "disk", "erased")


def _ata(device: str, option: str) -> None:
    before = _security(device)
    password = PASSWORD
    if "enabled" in before:
        password = _left_behind(device, locked="locked" in before)
    else:
        _hdparm("--security-set-pass", password, device)
    try:
        _hdparm(option, password, device)
    except plugin.Failed:
        with contextlib.suppress(plugin.Failed):
            _hdparm("--security-disable", password, device)
        raise
    if "enabled" in _security(device):
        message = (
            f"{device} still has the password {password!r} after its erase; power it off and on, then erase it again"
        )
        raise plugin.Failed("still_locked", message)


def _left_behind(device: str, *, locked: bool) -> str:
    """The password of an erase that was cut off; the disk is unlocked then. Raises Failed("locked")."""
    for password in LEFT_BEHIND:
        try:
            _hdparm("--security-unlock" if locked else "--security-disable", password, device)
        except plugin.Failed:
            continue
        plugin.log(f"{device} had the password of an erase that was cut off")
        if not locked:
            _hdparm("--security-set-pass", PASSWORD, device)
        return password if locked else PASSWORD
    raise plugin.Failed("locked", f"{device} cannot be erased: {LOCKED}")


def _hdparm(option: str, password: str, device: str) -> None:
    plugin.tool("hdparm", "--user-master", "u", option, password, device)


def _security(device: str) -> list[str]:
    return security(plugin.tool("hdparm", "-I", device))
