"""`data` of an inspection: what the tool hardware-detect (package "hardware" of PyPI) finds."""

import json
from typing import Any

from agent_router import plugin
from agent_router.ramdisk import kernel_parameters
from agent_router.storage.blockdev import PROC, read

# Those of disks only read, unless hardware-detect is told otherwise by an option that is not used here.
BENCHMARKS = ("cpu", "mem", "disk")


def extra_hardware(request: dict[str, Any]) -> dict[str, Any]:
    """{"data": [[kind, name, key, value], ...]}."""
    chosen = request.get("benchmarks")
    if chosen is None:
        chosen = benchmarks(kernel_parameters.parse(read(PROC / "cmdline") or ""))
    return {"data": parse(plugin.tool("hardware-detect", *(["--benchmark", *chosen] if chosen else [])))}


def benchmarks(given: dict[str, str]) -> list[str]:
    """Those that ipa-inspection-benchmarks of the kernel command line names."""
    words = [word.strip() for word in given.get("ipa-inspection-benchmarks", "").split(",") if word.strip()]
    for word in words:
        if word not in BENCHMARKS:
            plugin.warn(f"there is no benchmark {word}; known are {', '.join(BENCHMARKS)}")
    return [word for word in words if word in BENCHMARKS]


def parse(text: str) -> list[list[Any]]:
    """The 4-tuples of hardware-detect's JSON; raises Failed("no_data")."""
    try:
        found = json.loads(text, parse_constant=lambda _: None)  # NaN, of a benchmark that measured nothing
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise plugin.Failed("no_data", f"hardware-detect printed no JSON list but {text[:200]!r}")
    facts = [fact for fact in found if isinstance(fact, list) and len(fact) == 4]
    if len(facts) < len(found):
        plugin.warn(f"{len(found) - len(facts)} facts of hardware-detect are left out: they do not have four parts")
    return facts
