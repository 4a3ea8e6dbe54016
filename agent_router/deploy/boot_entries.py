"""install_bootloader for whole-disk images: they bring their boot loader, and UEFI firmware is told where it is.

The rules are those of ironic-python-agent, which Ironic's users know: a CSV file of the shim loader decides alone, with
path and label in it; else every known loader gets an entry. No entry names a loader that is not there.
"""

import os
import posixpath
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.deploy import deployed
from agent_router.storage import table
from agent_router.storage.table import Partition

SYS = Path("/sys")

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
class BootEntry:
    label: str
    loader: str  # \EFI\debian\shimx64.efi


def csv_files(files: list[str]) -> list[str]:
    """The CSV files that say how to boot, the most likely one first."""
    found = [path for path in files if posixpath.basename(path).lower() in CSV_NAMES]
    return sorted(found, key=lambda path: CSV_NAMES.index(posixpath.basename(path).lower()))


def csv_entry(path: str, data: bytes, files: list[str]) -> BootEntry | None:
    """The first BootEntry in a shim's CSV whose loader is there: UTF-16, lines such as `shimx64.efi,debian,,text`."""
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le", errors="replace")
    present = {one.lower(): one for one in files}  # FAT does not tell upper from lower case
    for line in text.splitlines():
        name, label, *_ = [field.strip() for field in line.split(",")] + [""]
        loader = present.get(posixpath.join(posixpath.dirname(path), name.replace("\\", "/")).lower())
        if name and label and loader:
            return BootEntry(label, backslashes(loader))
    return None


def loader_entries(files: list[str]) -> list[BootEntry]:
    """One BootEntry for each known loader, the most likely one first, labelled ironic1, ironic2, …"""
    found = [path for path in files if posixpath.basename(path).lower() in LOADER_NAMES]
    found.sort(key=lambda path: (LOADER_NAMES.index(posixpath.basename(path).lower()), path))
    return [BootEntry(f"ironic{number}", backslashes(path)) for number, path in enumerate(found, 1)]


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


class Esp:
    """The FAT file system of an EFI system partition, read with mtools: by its offset, without mounting it."""

    def __init__(self, device: str, partition: Partition) -> None:
        self.device = device
        self.number = partition.number
        self._image = f"{device}@@{partition.start}"
        # Not every image has the heads and cylinders filled in that mtools would check.
        os.environ["MTOOLS_SKIP_CHECK"] = "1"

    def files(self) -> list[str]:
        """All files as EFI/BOOT/BOOTX64.EFI, sorted."""
        text = plugin.tool("mdir", "-b", "-/", "-i", self._image, "::")
        paths = [line.removeprefix("::/") for line in text.splitlines() if line.startswith("::/")]
        return sorted(path for path in paths if path and not path.endswith("/"))

    def read(self, path: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, "file")
            plugin.tool("mcopy", "-n", "-i", self._image, f"::/{path}", str(copy))
            return copy.read_bytes()


def install_bootloader(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of image.install_bootloader."""
    booted = "uefi" if (SYS / "firmware/efi").exists() else "bios"
    target = request.get("target_boot_mode") or booted
    if target != booted:
        plugin.warn(f"The machine was booted in {booted} mode, but shall boot in {target} mode")
    if booted == "bios":
        return {"boot_mode": booted, "entries": []}  # the boot sectors are part of the image
    try:
        return {"boot_mode": booted, "entries": _tell_firmware(_device(request))}
    except plugin.Failed as error:
        if not request.get("ignore_bootloader_failure"):
            raise
        plugin.warn(f"no boot entry was written: {error.message}")
        return {"boot_mode": booted, "entries": []}


def _device(request: dict[str, Any]) -> str:
    device = request.get("device") or (deployed.recall() or {}).get("device")
    if not device:
        message = "no image was written since the machine booted, so the disk is not known; name it as device"
        raise plugin.InvalidRequest("no_deployment", message)
    return str(device)


def _tell_firmware(device: str) -> list[dict[str, str]]:
    found = table.read(device)
    partition = table.find_esp(found) if found else None
    if found is None or partition is None:
        message = f"{device} has no EFI system partition; is this an image for UEFI?"
        raise plugin.Failed("no_esp", message)
    esp = Esp(device, partition)
    entries = _entries(esp)
    # The firmware puts the newest entry first, so the best one is made last.
    for entry in reversed(entries):
        _replace(entry, esp, found.label)
    return [{"label": entry.label, "loader": entry.loader} for entry in entries]


def _entries(esp: Esp) -> list[BootEntry]:
    files = esp.files()
    for hint in csv_files(files):
        entry = csv_entry(hint, esp.read(hint), files)
        if entry is not None:
            return [entry]
        plugin.warn(f"{hint} of {esp.device} names no boot loader that is there")
    entries = loader_entries(files)
    if not entries:
        message = f"partition {esp.number} of {esp.device} has no boot loader for UEFI; it has {files or 'no file'}"
        raise plugin.Failed("no_boot_loader", message[:2000])
    return entries


def _replace(entry: BootEntry, esp: Esp, label: str) -> None:
    for number in same_label(plugin.tool("efibootmgr"), entry.label):
        plugin.tool("efibootmgr", "--bootnum", number, "--delete-bootnum")
    # An msdos table needs a signature by which the firmware finds the disk again.
    signature = ["--write-signature"] if label == "dos" else []
    plugin.tool("efibootmgr", "--create", "--disk", esp.device, "--part", esp.number, *signature,
                "--label", entry.label, "--loader", entry.loader)  # fmt: skip
