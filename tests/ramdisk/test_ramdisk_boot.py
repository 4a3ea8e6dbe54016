"""The disk that the ramdisk wrote, alone in a machine without a kernel from outside: it boots."""

from pathlib import Path
from typing import Any

import pytest
from machine import Machine
from machine_parts import NICS, Disk, MachineError
from rack import Rack
from tiny_image import MARKER


@pytest.mark.parametrize("uefi", [False, True], ids=["bios", "uefi"])
def test_the_disk_boots(rack: Rack, written: Any, tmp_path: Path, uefi: bool):
    disk = Disk("VIRTIO-ONE", file=written.file)
    machine = Machine(tmp_path, uefi=uefi, memory_mib=512, disks=(disk,), nics=NICS[:1])
    rack.start(f"disk-{'uefi' if uefi else 'bios'}", machine)
    try:
        found = machine.wait_for(MARKER)
        rack.note_up()
    finally:
        rack.clear()
    assert found["efi"] == ("yes" if uefi else "no")


def test_a_disk_without_an_image_is_seen_at_once(rack: Rack, tmp_path: Path):
    """Else the tests above could wait for minutes, or for ever; the message shows the end of the console."""
    machine = Machine(tmp_path, memory_mib=128, disks=(Disk("EMPTY", 16),), nics=())
    rack.start("disk-empty", machine)
    with pytest.raises(MachineError, match=r"(?s)No bootable device.*end of .*SeaBIOS"):
        machine.wait_for(MARKER, 60)
    rack.clear()
