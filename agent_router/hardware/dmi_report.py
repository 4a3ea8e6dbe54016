"""`dmi` of an inspection: firmware, processor and memory tables, with dmidecode's keys and values unchanged.

dmi.py extracts single facts from the same tables; this module passes them on whole.
"""

import re
from typing import Any

from agent_router import plugin
from agent_router.hardware.dmi import BIOS, MEMORY_ARRAY, MEMORY_DEVICE, PROCESSOR
from agent_router.hardware.probe import ask

TYPES = (BIOS, PROCESSOR, MEMORY_ARRAY, MEMORY_DEVICE)

Fields = dict[str, Any]  # of one table; a value is a text or a list of texts


def dmi(request: dict[str, Any]) -> dict[str, Any]:
    """{"dmi": {...}}, or {} with a warning if the firmware has no such tables."""
    text = ask("dmidecode", *(word for kind in TYPES for word in ("--type", str(kind))))
    tables = parse(text or "")
    if tables:
        return {"dmi": report(tables)}
    if text is not None:
        plugin.warn("dmidecode found no firmware tables")
    return {}


def parse(text: str) -> list[tuple[int, Fields]]:
    """(type, table) for each table in dmidecode's output; a key without a value is a list of the lines below it."""
    found: list[tuple[int, Fields]] = []
    key = ""
    for line in text.splitlines():
        if match := re.match(r"Handle 0x[0-9A-Fa-f]+, DMI type (\d+),", line):
            found.append((int(match[1]), {"Handle": line.strip()}))
            key = ""
        elif not found:
            continue
        elif line.startswith("\t\t"):
            values = found[-1][1].get(key)
            if isinstance(values, list):
                values.append(line.strip())
        elif line.startswith("\t") and ":" in line:
            key, _, value = (part.strip() for part in line.partition(":"))
            found[-1][1][key] = value or []
    return found


def report(tables: list[tuple[int, Fields]]) -> dict[str, Any]:
    """The format that consumers of Ironic's inspection data expect."""
    by_type: dict[int, list[Fields]] = {kind: [table for type_, table in tables if type_ == kind] for kind in TYPES}
    bios, arrays = by_type[BIOS], by_type[MEMORY_ARRAY]
    memory: Fields = {}
    if arrays:
        # Several arrays, one per socket, are reported as one with all slots.
        memory = {key: value for key, value in arrays[0].items() if key != "Handle"}
        memory["Number Of Devices"] = sum(slots(array) for array in arrays)
    return {
        "bios": bios[-1] if bios else {},
        "cpu": by_type[PROCESSOR],
        "memory": {**memory, "devices": by_type[MEMORY_DEVICE]},
    }


def slots(array: Fields) -> int:
    text = str(array.get("Number Of Devices", ""))
    return int(text) if text.isdecimal() else 0
