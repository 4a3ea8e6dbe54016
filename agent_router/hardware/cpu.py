"""`cpu` and `memory.total` of the inventory, from /proc and sysfs."""

import os
import re
from pathlib import Path
from typing import Any

from agent_router.hardware import dmi
from agent_router.hardware.probe import ask
from agent_router.storage.blockdev import PROC, SYS, read, read_int


def cpu(sys: Path = SYS, proc: Path = PROC) -> dict[str, Any]:
    """count: logical CPUs; frequency: the maximum in MHz, as text, "" if unknown."""
    entries = _entries(read(proc / "cpuinfo") or "")
    first = entries[0] if entries else {}
    # flags on x86, Features on Arm.
    flags = first.get("flags") or first.get("Features") or ""
    sockets = {entry["physical id"] for entry in entries if "physical id" in entry}
    return {
        "model_name": first.get("model name") or _model(),
        "frequency": _frequency(first, sys),
        "count": len(entries),
        "architecture": os.uname().machine,
        "flags": flags.split(),
        "socket_count": len(sockets) or _sockets(sys) or 1,
    }


def _model() -> str:
    """Where the kernel knows a number only (Arm): lscpu's name of the core, else the firmware's of the processor."""
    text = ask("lscpu", quiet=True) or ""
    told = re.search(r"^Model name:[ \t]*(\S.*?)\s*$", text, re.MULTILINE)
    if told and told[1] != "-":
        return told[1]
    firmware = dmi.parse(ask("dmidecode", "--type", str(dmi.PROCESSOR), quiet=True) or "")
    return next(filter(None, (dmi.clean(one.fields.get("Version")) for one in firmware)), "")


def _entries(text: str) -> list[dict[str, str]]:
    """One dictionary per logical CPU. Some architectures append a block about the board."""
    blocks = [dict(re.findall(r"^([^\t:]+?)\s*:[ \t]*(.*)$", block, re.MULTILINE)) for block in text.split("\n\n")]
    return [block for block in blocks if "processor" in block]


def _frequency(entry: dict[str, str], sys: Path) -> str:
    khz = read_int(sys / "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return f"{khz / 1000:.4f}" if khz else entry.get("cpu MHz", "")


def _sockets(sys: Path) -> int:
    files = (sys / "devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id")
    return len({text for text in map(read, files) if text not in (None, "-1")})


def memory_total(proc: Path = PROC) -> int:
    """Memory that the kernel sees, in bytes."""
    match = re.search(r"^MemTotal:\s*(\d+) kB$", read(proc / "meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
