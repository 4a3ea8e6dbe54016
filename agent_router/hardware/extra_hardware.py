"""`data` of an inspection: the facts found by hardware-detect (package "hardware" on PyPI)."""

import json
from typing import Any

from agent_router import plugin
from agent_router.ramdisk import kernel_parameters
from agent_router.storage.blockdev import PROC, read

# The disk benchmark only reads, except with an option of hardware-detect that is not used here.
BENCHMARKS = ("cpu", "mem", "disk")


def extra_hardware(request: dict[str, Any]) -> dict[str, Any]:
    """{"data": [[kind, name, key, value], ...]}."""
    chosen = request.get("benchmarks")
    if chosen is None:
        chosen = benchmarks(kernel_parameters.parse(read(PROC / "cmdline") or ""))
    return {"data": parse(plugin.tool("hardware-detect", *(["--benchmark", *chosen] if chosen else [])))}


def benchmarks(given: dict[str, str]) -> list[str]:
    """The benchmarks in ipa-inspection-benchmarks of the kernel command line."""
    words = [word.strip() for word in given.get("ipa-inspection-benchmarks", "").split(",") if word.strip()]
    for word in words:
        if word not in BENCHMARKS:
            plugin.warn(f"unknown benchmark {word}; use {', '.join(BENCHMARKS)}")
    return [word for word in words if word in BENCHMARKS]


def parse(text: str) -> list[list[Any]]:
    """The 4-tuples in hardware-detect's JSON; raises Failed("no_data")."""
    try:
        found = json.loads(text, parse_constant=lambda _: None)  # NaN, from a benchmark that measured nothing
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise plugin.Failed("no_data", f"hardware-detect did not print a JSON list but {text[:200]!r}")
    facts = [fact for fact in found if isinstance(fact, list) and len(fact) == 4]
    if len(facts) < len(found):
        plugin.warn(f"{len(found) - len(facts)} facts of hardware-detect are ignored: they do not have four parts")
    return facts
