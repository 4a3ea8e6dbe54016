"""System, firmware and memory facts from the firmware: by dmidecode, else sysfs, else lshw.

Structure types and fields: DMTF DSP0134 (SMBIOS), dmidecode(8).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_router.hardware.probe import ask
from agent_router.storage.blockdev import SYS, read

BIOS, SYSTEM, PROCESSOR, MEMORY_ARRAY, MEMORY_DEVICE = 0, 1, 4, 16, 17
# 7.17.2: arrays that are no memory to work in.
NO_MEMORY = {"Video Memory", "Flash Memory", "Non-volatile RAM", "Cache Memory"}
# 7.18.2 and 7.18.6: memory devices that keep what is in them. Such DIMMs tell how much of them is memory all the same.
NON_VOLATILE = re.compile(r"flash|\b\w*ROM\b|non-volatile|persistent|nvdimm", re.IGNORECASE)
# All powers of two: dmidecode prints KiB as kB; newer releases print the binary units.
_MIB_PER = {"k": 1 / 1024, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
# Placeholders that vendors leave in fields.
_FILLERS = {"", "not specified", "to be filled by o.e.m.", "default string", "system serial number", "none"}


@dataclass
class Structure:
    type: int
    fields: dict[str, str] = field(default_factory=dict)
    handle: str = ""


def parse(text: str) -> list[Structure]:
    """The structures in dmidecode's output, without lists inside a structure (features)."""
    found: list[Structure] = []
    for line in text.splitlines():
        if match := re.match(r"Handle (0x[0-9A-Fa-f]+), DMI type (\d+),", line):
            found.append(Structure(int(match[2]), handle=match[1]))
        elif found and (match := re.match(r"\t([^\t:][^:]*):\s*(.*)$", line)):
            found[-1].fields[match[1]] = match[2].strip()
    return found


def memory_mib(structures: list[Structure]) -> int:
    """Total size in MiB of all memory devices that the system works in; 0 if unknown."""
    other = {one.handle for one in structures if one.type == MEMORY_ARRAY and one.fields.get("Use") in NO_MEMORY}
    devices = [one.fields for one in structures if one.type == MEMORY_DEVICE]
    return int(sum(volatile_mib(fields) for fields in devices if fields.get("Array Handle") not in other))


def volatile_mib(fields: dict[str, str]) -> float:
    """The memory in a device, without flash and other memory that is used as storage."""
    kind = " ".join(fields.get(key, "") for key in ("Type", "Memory Technology"))
    if NON_VOLATILE.search(kind) or size_mib(fields.get("Non-Volatile Size", "")):
        return size_mib(fields.get("Volatile Size", ""))
    return size_mib(fields.get("Size", ""))


def size_mib(text: str) -> float:
    """0 for what is no size, such as "No Module Installed" and "Unknown"."""
    match = re.fullmatch(r"(\d+) ([kKMGT])i?B", text)
    return int(match[1]) * _MIB_PER[match[2]] if match else 0


def clean(value: str | None) -> str:
    value = (value or "").strip()
    return "" if value.lower() in _FILLERS else value


def vendor(structures: list[Structure], sys: Path = SYS) -> dict[str, Any]:
    """`system_vendor` of the inventory; "" for anything unknown."""

    def fact(kind: int, name: str, file: str) -> str:
        told = next((entry.fields.get(name) for entry in structures if entry.type == kind), None)
        return clean(told) or clean(read(sys / "class/dmi/id" / file))

    return {
        "product_name": fact(SYSTEM, "Product Name", "product_name"),
        "serial_number": fact(SYSTEM, "Serial Number", "product_serial"),
        "manufacturer": fact(SYSTEM, "Manufacturer", "sys_vendor"),
        "firmware": {
            "vendor": fact(BIOS, "Vendor", "bios_vendor"),
            "version": fact(BIOS, "Version", "bios_version"),
            "build_date": fact(BIOS, "Release Date", "bios_date"),
        },
    }


def lshw_nodes(text: str) -> list[dict[str, Any]]:
    """The nodes of lshw's JSON tree without flash memory, the system itself first; [] if it is not JSON."""
    try:
        tree = json.loads(text)
    except ValueError:
        return []

    def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if node.get("class") == "memory" and NON_VOLATILE.search(str(node.get("description", ""))):
            return  # with the banks of it
        yield node
        for child in node.get("children", []):
            yield from walk(child)

    # Newer releases wrap the tree in a list.
    roots = tree if isinstance(tree, list) else [tree]
    return [node for root in roots for node in walk(root)]


def lshw_memory_mib(nodes: list[dict[str, Any]]) -> int:
    """Memory in MiB according to lshw: its banks, else the "System memory" node; 0 if unknown."""
    memory = [node for node in nodes if node.get("class") == "memory" and isinstance(node.get("size"), int)]
    banks = sum(node["size"] for node in memory if str(node.get("id", "")).startswith("bank"))
    whole = sum(node["size"] for node in memory if re.fullmatch(r"memory(:\d+)?", str(node.get("id", ""))))
    return int(banks or whole) >> 20


def gather(total_bytes: int) -> tuple[dict[str, Any], int]:
    """(system_vendor, physical_mb). lshw takes seconds, so it is used only if the others know too little."""
    structures = parse(ask("dmidecode", "--type", "0,1,16,17") or "")
    system, mib = vendor(structures), memory_mib(structures)
    if mib and system["product_name"]:
        return system, mib
    nodes = lshw_nodes(ask("lshw", "-quiet", "-json", limit_s=60) or "")
    if nodes:
        system["product_name"] = system["product_name"] or clean(nodes[0].get("product"))
        system["manufacturer"] = system["manufacturer"] or clean(nodes[0].get("vendor"))
        system["serial_number"] = system["serial_number"] or clean(nodes[0].get("serial"))
    return system, mib or lshw_memory_mib(nodes) or total_bytes >> 20
