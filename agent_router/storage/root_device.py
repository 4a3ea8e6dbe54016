"""The disk that a system is put on: chosen by Ironic's hints, or the smallest of at least 4 GiB.

`choose` decides from facts alone; `find` asks the machine, and takes only what the agent's device
list allows.
"""

import os
from typing import Any

from agent_router import plugin
from agent_router.plugin import devices
from agent_router.storage import disks, hints, protected

SMALLEST = 4 << 30
SHOWN = ("model", "serial", "wwn")


def find(request: dict[str, Any]) -> str:
    """The device path, e.g. /dev/sda. Raises InvalidRequest, Refused or Failed("no_root_device").

    Read are `instance_root_device`, else `root_device` (hints), and `skip_block_devices`.
    """
    wanted = request.get("instance_root_device") or request.get("root_device") or {}
    skip = request.get("skip_block_devices") or []
    found = disks.awaited(lambda there: choose(there, wanted, skip))
    fitting = choose(found, wanted, skip)
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
    """Names of the disks that would do, best first: not protected, writable, and no members of an array."""
    left_out = protected.reasons(found, skip)
    left = [disk for disk in found if not (disk["name"] in left_out or disk["read_only"] or disk["member_of"])]
    if wanted:
        return [disk["name"] for disk in left if hints.matches(disk, wanted)]
    large = [disk for disk in left if disk["size"] >= SMALLEST]
    return [disk["name"] for disk in sorted(large, key=lambda disk: (disk["size"], disk["name"]))]


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
    facts += ["write-protected"] if disk["read_only"] else []
    facts += [f"member of {array}" for array in disk["member_of"]]
    return f"{disk['name']} ({', '.join(facts)})"
