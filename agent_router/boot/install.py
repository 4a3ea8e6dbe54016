"""install_bootloader for whole-disk images: they bring their boot loader, UEFI firmware is told where it is."""

from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.boot import efi
from agent_router.boot.esp import Esp
from agent_router.storage import deployment, table

SYS = Path("/sys")


def install(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of image.install_bootloader."""
    booted = "uefi" if (SYS / "firmware/efi").exists() else "bios"
    target = request.get("target_boot_mode") or booted
    if target != booted:
        plugin.warn(f"The machine was booted by {booted}, but is to boot by {target}")
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
    deployed = deployment.recall() or {}
    device = request.get("device") or deployed.get("device")
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


def _entries(esp: Esp) -> list[efi.Entry]:
    files = esp.files()
    hint = efi.csv_file(files)
    if hint is not None:
        entry = efi.csv_entry(hint, esp.read(hint))
        if entry is not None:
            return [entry]
        plugin.warn(f"{hint} of {esp.device} does not say how to boot")
    entries = efi.loader_entries(files)
    if not entries:
        message = f"partition {esp.number} of {esp.device} has no boot loader for UEFI; it has {files or 'no file'}"
        raise plugin.Failed("no_boot_loader", message[:2000])
    return entries


def _replace(entry: efi.Entry, esp: Esp, label: str) -> None:
    for number in efi.same_label(plugin.tool("efibootmgr"), entry.label):
        plugin.tool("efibootmgr", "--bootnum", number, "--delete-bootnum")
    # An msdos table needs a signature by which the firmware finds the disk again.
    signature = ["--write-signature"] if label == "dos" else []
    plugin.tool("efibootmgr", "--create", "--disk", esp.device, "--part", esp.number, *signature,
                "--label", entry.label, "--loader", entry.loader)  # fmt: skip
