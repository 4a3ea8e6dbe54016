from agent_router.hardware.disks import inventory_form
from agent_router.storage.disks import describe
from agent_router.storage.udev import udev


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
    assert inventory_form(describe(node, properties, {"sda": ["/dev/disk/by-path/p"]}, {})) == {
        "name": "/dev/sda", "model": "M", "size": 10, "rotational": True, "wwn": "0x5002", "serial": "S3",
        "vendor": "ATA", "wwn_with_extension": "0x50027", "wwn_vendor_extension": "0x7", "hctl": "0:0:0:0",
        "by_path": "/dev/disk/by-path/p", "logical_sectors": 512, "physical_sectors": 4096, "tran": "sata",
    }  # fmt: skip


def test_what_is_unknown_is_null():
    shown = inventory_form(describe({"kname": "sda", "type": "disk", "size": 10}, {}, {}, {}))
    assert (shown["serial"], shown["wwn"], shown["by_path"], shown["model"]) == (None,) * 4
