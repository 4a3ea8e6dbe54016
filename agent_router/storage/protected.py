"""Which disks must be left alone, according to a node's properties.skip_block_devices.

An entry names a disk by hints, or a RAID array by its name in the metadata, whatever links the system made for it; then
the disks with its members are left alone too, whether it runs or not. An array is left alone too if a disk of it is.
"""

import contextlib
import os
import re
import shlex
from collections.abc import Callable
from typing import Any

from agent_router import plugin
from agent_router.storage import blockdev, hints

LISTED = "it is in the node's properties.skip_block_devices"
Disk = dict[str, Any]
Tell = Callable[[str], None]


def reasons(found: list[Disk], skip: list[dict[str, Any]], tell: Tell = lambda text: None) -> dict[str, str]:
    """Why disks must be left alone, by their path; `tell` hears of entries that protect nothing."""
    listed: set[str] = set()
    why: dict[str, str] = {}
    for entry in skip:
        volume = str(entry.get("volume_name") or "")
        hits = [disk for disk in found if (volume in array_names(disk) if volume else hints.matches(disk, entry))]
        listed |= {disk["name"] for disk in hits}
        members = [disk for disk in found if volume and volume in member_names(disk)]
        why |= {disk["name"]: f"a member of the array {volume} is on it; {told(volume)}" for disk in members}
        if not hits and not members:
            tell(f"{entry} in the node's properties.skip_block_devices is about no disk of this machine")
    for disk in found:
        if disk["name"] in listed:
            why |= {lower: f"it is a part of {disk['name']}; {told(disk['name'])}" for lower in disk["members"]}
        for lower in listed.intersection(disk["members"]):
            why[disk["name"]] = f"it is made of {lower}; {told(lower)}"
    return why | dict.fromkeys(listed, LISTED)


def told(what: str) -> str:
    return f"{what} is in the node's properties.skip_block_devices"


def array_names(disk: Disk) -> set[str]:
    """What an array may be called: its name in the metadata, with and without the host that made it."""
    if disk["kind"] != "raid":
        return set()
    text = ""
    with contextlib.suppress(plugin.Failed):  # the links remain
        text = plugin.tool("mdadm", "--detail", "--export", disk["name"])
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    linked = [os.path.split(link) for link in disk["links"]]
    names = [name.removeprefix("md-name-") for _, name in linked if name.startswith("md-name-")]
    names += [fields["MD_NAME"]] if fields.get("MD_NAME") else []
    if not names:  # old metadata has no name, and that of firmware has it elsewhere: only what the system made of it
        made = [name for directory, name in linked if os.path.basename(directory) == "md"]
        made += [fields.get("MD_DEVNAME", "")]
        names = [*made, *(re.sub(r"_\d+$", "", name) for name in made)]
    return with_and_without_host(names)


def member_names(disk: Disk) -> set[str]:
    """The names of the arrays that a disk or its partitions are members of, running or not, from the metadata."""
    if disk["kind"] == "raid":
        return set()
    name = os.path.basename(disk["name"])
    names = []
    for part in [name, *blockdev.partitions(name)]:
        # Its status is 1 if there is no metadata.
        for line in plugin.tool("mdadm", "--examine", "--brief", f"/dev/{part}", ok=(0, 1)).splitlines():
            words = shlex.split(line) if line.startswith("ARRAY") else []
            names += [word.removeprefix("name=") for word in words if word.startswith("name=")]
            names += [os.path.basename(word) for word in words if word.startswith("/dev/md/")]
    return with_and_without_host(names)


def with_and_without_host(names: list[str]) -> set[str]:
    return {form for name in names for form in (name, name.partition(":")[2]) if form}
