"""The disk that the ramdisk wrote, alone in a machine without a kernel from outside: it boots."""

from pathlib import Path
from typing import Any

import pytest
from machine import Machine
from machine_parts import NICS, Disk, MachineError

from tests.support import guest_deployments
from tests.support.rack import Rack
from tests.support.tiny_image import MARKER


@pytest.mark.parametrize("uefi", [False, True], ids=["bios", "uefi"])
def test_the_disk_boots(rack: Rack, written: Any, tmp_path: Path, uefi: bool):
    assert booted(rack, written.file, tmp_path, f"disk-{'uefi' if uefi else 'bios'}", uefi) == ("yes" if uefi else "no")


@pytest.mark.parametrize("way", sorted(guest_deployments.DISKS.keys() - {"magnet", "torrent zst"}))  # as torrent
def test_what_came_by_each_transport_boots(rack: Rack, deployed: Any, tmp_path: Path, way: str):
    assert booted(rack, deployed.disk(way), tmp_path, f"disk-{way.replace(' ', '-')}") == "no"


def booted(rack: Rack, file: Path, work: Path, name: str, uefi: bool = False) -> str:
    """Boot it until it says so; whether it found EFI: yes or no."""
    machine = Machine(work, uefi=uefi, memory_mib=512, disks=(Disk("VIRTIO-ONE", file=file),), nics=NICS[:1])
    rack.start(name, machine)
    try:
        found = machine.wait_for(MARKER)
        rack.note_up()
    finally:
        rack.clear()
    return found["efi"]


def test_a_disk_without_an_image_is_seen_at_once(rack: Rack, tmp_path: Path):
    """Else the tests above could wait for minutes, or for ever; the message shows the end of the console."""
    machine = Machine(tmp_path, memory_mib=128, disks=(Disk("EMPTY", 16),), nics=())
    rack.start("disk-empty", machine)
    with pytest.raises(MachineError, match=r"(?s)No bootable device.*end of .*SeaBIOS"):
        machine.wait_for(MARKER, 60)
    rack.clear()
