"""Which disks do Ironic's erase steps erase? Decided for all disks before the first byte is written.

Skipped, with the reason in the response: disks that the node's skip list is about, virtual media and, if the conductor
says so, write-protected disks. Every other disk must be erasable, or nothing is done: a disk that the agent may not
touch, that is in use, or that holds a cluster file system is a reason to refuse, not to report success.

RAID arrays are not erased but taken down, and their members are erased; only an array all of whose disks are skipped,
because they have members of a protected array too, is erased itself.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from agent_router import plugin
from agent_router.plugin import devices
from agent_router.storage import disks, lsblk, protected, stacks

VIRTUAL_MEDIA = {"ir-vfd-dev", "vmedia_boot_iso"}  # Ironic's labels: the boot parameters, the ramdisk itself
MEDIUM_MAX = 4 << 30  # a label protects no system disk, because a tenant can write one
# Shared by several machines: erasing them here would destroy data of the others.
SHARED_TYPES = {
    "37affc90-ef7d-4e96-91c3-2d7ae055b174": "IBM GPFS", "aa31e02a-400f-11db-9590-000c2911d1b8": "VMware VMFS",
    "0xfb": "VMware VMFS",
}  # fmt: skip
SHARED_FILE_SYSTEMS = {"gfs2": "Red Hat GFS2", "vmfs_volume_member": "VMware VMFS", "ocfs2": "Oracle OCFS2"}


@dataclass(frozen=True)
class EraseOptions:
    """The erase options in node.driver_internal_info; the defaults are those of ironic-python-agent."""

    random_passes: int = 1
    zeroes: bool = True
    ata_secure: bool = True
    nvme_secure: bool = True
    go_on: bool = False
    skip_read_only: bool = False
    wipe_shared: bool = False
    concurrency: int = 1


def erase_options(info: dict[str, Any]) -> EraseOptions:
    go_on = info.get("agent_continue_if_secure_erase_failed")
    if go_on is None:
        go_on = info.get("agent_continue_if_ata_erase_failed")
    passes = info.get("agent_erase_devices_iterations")
    zeroes = info.get("agent_erase_devices_zeroize")
    return EraseOptions(
        random_passes=1 if passes is None else max(0, int(passes)),
        zeroes=True if zeroes is None else bool(zeroes),
        ata_secure=info.get("agent_enable_ata_secure_erase") is not False,
        nvme_secure=info.get("agent_enable_nvme_secure_erase") is not False,
        go_on=bool(go_on),
        skip_read_only=bool(info.get("agent_erase_skip_read_only")),
        wipe_shared=bool(info.get("wipe_special_filesystems")),
        concurrency=max(1, int(info.get("disk_erasure_concurrency") or 1)),
    )


@dataclass
class EraseTargets:
    """`names`: kernel names of the disks to erase; `skipped`: reasons by device path."""

    names: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def choose(request: dict[str, Any], wanted: EraseOptions, *, read_only_is_skipped: bool = False) -> EraseTargets:
    """Check every disk, writing nothing; raises Refused with everything that is in the way."""
    chosen, refusals = EraseTargets(), []
    allowed = devices.patterns_of(os.environ.get("AGENT_DEVICES", ""))
    found = disks.awaited()
    protection = protected.reasons(found, request.get("skip_block_devices") or [], plugin.warn)
    for disk in sorted(found, key=lambda disk: len(disk["members"])):  # disks before what is made of them
        whole = chosen.skipped.keys() >= set(disk["members"])  # else it is taken down, and its members are erased
        reason = protection.get(disk["name"]) or _medium(disk)
        if not reason and whole and disk["read_only"] and (read_only_is_skipped or wanted.skip_read_only):
            reason = "it is write-protected"
        if reason:
            chosen.skipped[disk["name"]] = reason
            plugin.warn(f"{disk['name']} was not erased: {reason}")
        elif whole:
            chosen.names.append(os.path.basename(disk["name"]))
    by_name = {os.path.basename(disk["name"]): disk for disk in found}
    for name in chosen.names:
        refusals += _refusals(by_name[name], name, allowed, wanted)
        refusals += _shared_with_skipped(by_name[name], name, chosen)
    if refusals:
        message = "; ".join(refusals)
        message += ". Nothing was erased; to skip disks, list them in the node's properties.skip_block_devices"
        raise plugin.Refused("not_erasable", message, details={"refused": refusals})
    if not chosen.names:
        plugin.warn("there is no disk to erase" + ("" if found else ": this machine has no disks"))
    return chosen


def _medium(disk: disks.Disk) -> str:
    """Why a disk is skipped as one of Ironic's virtual media, or ""."""
    labelled = not VIRTUAL_MEDIA.isdisjoint(label.lower() for label in disk["labels"])
    if labelled and disk["tran"] == "usb" and disk["size"] < MEDIUM_MAX:
        return "it is the virtual medium that the machine was booted with"
    return ""


def _shared_with_skipped(disk: disks.Disk, name: str, chosen: EraseTargets) -> list[str]:
    """What is built on this disk and on a skipped one cannot be taken down: that would harm the skipped one's data."""
    layers = set(stacks.above(name))
    return [
        f"{disk['name']} and {other}, which is skipped, are both parts of {layer}; skip both or neither"
        for other in sorted(chosen.skipped.keys() - set(disk["members"]))
        for layer in sorted(layers.intersection(stacks.above(os.path.basename(other))))
    ]


def _refusals(disk: dict[str, Any], name: str, allowed: list[str], wanted: EraseOptions) -> list[str]:
    device = disk["name"]
    refusal = devices.refusal(device, allowed)
    if refusal:
        return [refusal]
    layers = (devices.protection(f"/dev/{layer}", allowed) for layer in stacks.above(name))
    found = [f"{device} cannot be erased: {layer}" for layer in layers if layer]
    found += [f"{device} is write-protected"] if disk["read_only"] else []
    in_use = stacks.in_use(name)
    found += [f"{device} is in use: {'; '.join(in_use)}"] if in_use else []
    if not wanted.wipe_shared:
        found += [f"{device} holds {what}, which other machines may be using" for what in shared(lsblk.tree(device))]
    return found


def shared(nodes: list[dict[str, Any]]) -> list[str]:
    """Names of the cluster file systems on a disk and its partitions, from lsblk's tree."""
    found = []
    for node in nodes:
        found += [SHARED_TYPES[key] for key in _types(node) if key in SHARED_TYPES]
        kind = (node.get("fstype") or "").lower()
        found += [SHARED_FILE_SYSTEMS[kind]] if kind in SHARED_FILE_SYSTEMS else []
        found += shared(node.get("children") or [])
    return list(dict.fromkeys(found))


def _types(node: dict[str, Any]) -> list[str]:
    return [(node.get(key) or "").lower() for key in ("parttype", "uuid", "ptuuid", "partuuid")]
