import json
from pathlib import Path

import pytest

from agent_router.hardware import disks
from agent_router.storage.udev import udev

DATA = Path(__file__).resolve().parents[1] / "data/lsblk"


@pytest.mark.parametrize(("name", "kind", "size", "wanted"), [
    ("sda", "disk", 1, True), ("nvme0n1", "disk", 1, True), ("mmcblk0", "disk", 1, True),
    ("vda", "disk", "5", True),
    ("mmcblk0boot0", "disk", 1, False), ("mmcblk0rpmb", "disk", 1, False), ("zram0", "disk", 1, False),
    ("ram0", "disk", 1, False), ("loop0", "loop", 1, False), ("md127", "raid1", 1, False),
    ("sr0", "rom", 1, False),
    ("sdb", "disk", 0, False), ("sdc", "disk", None, False), ("fd0", "disk", 4096, False),
    ("dm-0", "lvm", 1, False),
])  # fmt: skip
def test_is_disk(name, kind, size, wanted):
    assert disks.is_disk({"kname": name, "type": kind, "size": size}) is wanted


def test_captured_machine():
    nodes = json.loads((DATA / "virtio_vm.out").read_text())["blockdevices"]
    assert [node["kname"] for node in nodes if disks.is_disk(node)] == ["vda"]


def test_udev_completes_lsblk(tmp_path):
    block = tmp_path / "sys/class/block/sda"
    block.mkdir(parents=True)
    (block / "dev").write_text("8:0\n")
    (tmp_path / "b8:0").write_text(
        "S:disk/by-id/x\nE:ID_SERIAL_SHORT=S3\nE:ID_WWN=0x5002\nE:ID_WWN_WITH_EXTENSION=0x50027\n"
        "E:ID_WWN_VENDOR_EXTENSION=0x7\nE:ID_X=a=b\n"
    )
    properties = udev("sda", tmp_path, tmp_path / "sys")
    assert properties["ID_X"] == "a=b"
    node = {"kname": "sda", "type": "disk", "size": 10, "model": "M  ", "vendor": "ATA     ", "rota": True,
            "log-sec": 512, "phy-sec": 4096, "tran": "sata", "hctl": "0:0:0:0", "wwn": "0xlsblk"}  # fmt: skip
    assert disks.describe(node, properties, {"sda": ["/dev/disk/by-path/p"]}) == {
        "name": "/dev/sda", "model": "M", "size": 10, "rotational": True, "wwn": "0x5002", "serial": "S3",
        "vendor": "ATA", "wwn_with_extension": "0x50027", "wwn_vendor_extension": "0x7", "hctl": "0:0:0:0",
        "by_path": "/dev/disk/by-path/p", "logical_sectors": 512, "physical_sectors": 4096, "tran": "sata",
    }  # fmt: skip
