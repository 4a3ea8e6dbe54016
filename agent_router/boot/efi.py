"""UEFI boot entries: which loaders an EFI system partition has, and what the firmware is told about them.

Pure functions. The rules are those of ironic-python-agent, which Ironic's users know: a CSV file
of the shim loader decides alone, with path and label in it; else every known loader gets an entry.
"""

import posixpath
import re
from dataclasses import dataclass

# Loaders by file name, in lower case; the removable-media names are of the UEFI Specification, 3.5.1.1.
CSV_NAMES = ("bootx64.csv", "bootaa64.csv", "boot.csv")
LOADER_NAMES = (
    "bootx64.efi", "bootaa64.efi", "bootia32.efi", "bootia64.efi", "bootarm.efi", "bootriscv32.efi",
    "bootriscv64.efi", "bootriscv128.efi", "grubaa64.efi", "winload.efi",
)  # fmt: skip
ENTRY = re.compile(r"Boot([0-9A-Fa-f]{4})\*?\s(.*)")
# efibootmgr separates label and path by a tab; its older versions by blanks.
PATH = re.compile(r"\s+(?:BBS|HD|FvFile|FvVol|PciRoot|VenMsg|VenHw|UsbClass)\(.*$")


@dataclass(frozen=True)
class Entry:
    label: str
    loader: str  # \EFI\debian\shimx64.efi


def csv_file(files: list[str]) -> str | None:
    """The CSV file that says how to boot, if there is one."""
    found = [path for path in files if posixpath.basename(path).lower() in CSV_NAMES]
    return min(found, key=lambda path: CSV_NAMES.index(posixpath.basename(path).lower())) if found else None


def csv_entry(path: str, data: bytes) -> Entry | None:
    """The Entry in a shim's CSV: UTF-16, `shimx64.efi,debian,,text`; None if it says nothing usable."""
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le", errors="replace")
    fields = [field.strip() for field in (text.splitlines() or [""])[0].split(",")]
    if len(fields) < 2 or not fields[0] or not fields[1]:
        return None
    return Entry(fields[1], backslashes(posixpath.join(posixpath.dirname(path), fields[0])))


def loader_entries(files: list[str]) -> list[Entry]:
    """One Entry for each known loader, the most likely one first, labelled ironic1, ironic2, …"""
    found = [path for path in files if posixpath.basename(path).lower() in LOADER_NAMES]
    found.sort(key=lambda path: (LOADER_NAMES.index(posixpath.basename(path).lower()), path))
    return [Entry(f"ironic{number}", backslashes(path)) for number, path in enumerate(found, 1)]


def backslashes(path: str) -> str:
    return "\\" + path.replace("/", "\\")


def same_label(text: str, label: str) -> list[str]:
    """Numbers of the entries with that label, in the output of efibootmgr."""
    return [number for number, found in labels(text) if found == label]


def labels(text: str) -> list[tuple[str, str]]:
    """(number, label) of every entry."""
    found = []
    for line in text.splitlines():
        match = ENTRY.match(line)
        if match:
            found.append((match[1].upper(), PATH.sub("", match[2].split("\t")[0]).strip()))
    return found
