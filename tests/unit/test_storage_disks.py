import json
from pathlib import Path

import pytest

from agent_router.plugin import Failed
from agent_router.storage import disks, hints

DATA = Path(__file__).resolve().parents[1] / "data/lsblk"
GIB = 1 << 30


def node(name, kind="disk", size_gib=10, children=(), **more):
    return {"kname": name, "type": kind, "size": size_gib and int(size_gib) * GIB, "children": list(children), **more}


@pytest.fixture
def machine(monkeypatch):
    """`machine(*nodes)`: what lsblk shows."""

    def make(*nodes):
        monkeypatch.setattr(disks.lsblk, "tree", lambda probe: list(nodes))
        monkeypatch.setattr(disks, "udev", lambda name: {})

    return make


@pytest.mark.parametrize("one", [
    node("sda"), node("sda", size_gib="5"), node("nvme0n1"), node("mmcblk0"), node("vda"), node("dasda"), node("pmem0"),
    node("cciss!c0d0"), node("md127", "raid1"), node("md0", "linear"), node("dm-0", "mpath"), node("dm-1", "dmraid"),
], ids=lambda one: one["kname"])  # fmt: skip
def test_what_is_a_disk(one):
    assert disks.is_disk(one)


@pytest.mark.parametrize("one", [
    node("sr0", "rom"), node("loop0", "loop"), node("sda1", "part"), node("dm-0", "lvm"), node("dm-1", "crypt"),
    node("sdb", size_gib=0), node("sdc", size_gib=None), node("md0", "md"),
    *map(node, ("ram0", "zram0", "fd0", "mmcblk0boot0", "mmcblk0boot1", "mmcblk0rpmb", "mtdblock0", "mtdblock12",
                "ubiblock0_1", "ftla", "nbd0", "rbd3", "etherd!e0.1", "drbd1", "bcache0", "nullb0", "zd16")),
], ids=lambda one: one["kname"])  # fmt: skip
def test_what_is_none(one):
    assert not disks.is_disk(one)


def test_what_stands_on_a_disk_is_no_disk_though_lsblk_calls_it_so():
    assert [one["kname"] for one, *_ in disks.walk([node("sda", children=[node("bcachex"), node("bcache0")])])] == [
        "sda"
    ]


def test_a_captured_machine(monkeypatch):
    nodes = json.loads((DATA / "virtio_vm.out").read_text())["blockdevices"]
    assert [one["kname"] for one, *_ in disks.walk(nodes)] == ["vda"]


def test_arrays_and_multipath_devices_are_found_once_and_paths_not_at_all(machine):
    array, lun = node("md127", "raid1", 9), node("dm-0", "mpath", 20)
    machine(
        node("sda", children=[node("sda1", "part", children=[array])]),
        node("sdb", children=[array]),
        node("sdc", children=[lun]),
        node("sdd", children=[lun, node("sdd1", "part")]),
    )
    found = {disk["name"]: disk for disk in disks.disks()}
    assert list(found) == ["/dev/sda", "/dev/md127", "/dev/sdb", "/dev/dm-0"]
    assert found["/dev/md127"]["members"] == ["/dev/sda", "/dev/sdb"]
    assert found["/dev/sdb"]["member_of"] == ["/dev/md127"]
    assert found["/dev/dm-0"]["members"] == found["/dev/dm-0"]["member_of"] == []


def test_a_multipath_device_is_known_by_what_its_paths_are_known_by(machine, monkeypatch):
    lun = node("dm-0", "mpath", 20)
    machine(*(node(name, children=[lun], serial="6001", hctl=hctl, wwn="0x6001", model="LUN")
              for name, hctl in (("sda", "0:0:0:0"), ("sdb", "1:0:0:0"))))  # fmt: skip
    monkeypatch.setattr(disks, "all_links", lambda: {"sdb": ["/dev/disk/by-id/x"], "dm-0": ["/dev/mapper/mpatha"]})
    [disk] = disks.disks()
    assert (disk["serial"], disk["wwn"], disk["model"], disk["hctl"]) == (["6001"], ["0x6001"], "LUN", "0:0:0:0")
    for name in ("/dev/dm-0", "/dev/sda", "/dev/sdb", "/dev/disk/by-id/x", "/dev/mapper/mpatha"):
        assert hints.matches(disk, {"name": name}), name


def test_serial_and_wwn_are_what_lsblk_and_udev_say():
    known = {"ID_SERIAL_SHORT": "S1", "ID_SERIAL": "Acme_S1", "ID_WWN": "0x5", "ID_WWN_WITH_EXTENSION": "0x57"}
    found = disks.describe(node("sda", serial="S1", wwn="0x57 ", rota="1", ro=False, model="Acme  "), known, {}, {})
    assert (found["serial"], found["wwn"]) == (["S1", "Acme_S1"], ["0x57", "0x5"])
    assert (found["rotational"], found["model"], found["wwn_with_extension"]) == (True, "Acme", "0x57")


def test_all_links_to_a_device(tmp_path):
    (tmp_path / "md127").touch()
    for place in ("disk/by-id/md-name-n:d", "disk/by-label/x", "md/n:d", "mapper/y"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).symlink_to(tmp_path / "md127")
    assert [link.removeprefix(f"{tmp_path}/") for link in disks.all_links(tmp_path)["md127"]] == [
        "disk/by-id/md-name-n:d", "disk/by-label/x", "md/n:d", "mapper/y",
    ]  # fmt: skip


def test_a_late_disk_is_waited_for_and_told(monkeypatch):
    looks, told = [[], [], [{"name": "/dev/sda"}]], []
    monkeypatch.setattr(disks, "disks", lambda: looks.pop(0))
    monkeypatch.setattr(disks, "connect_boot_luns", lambda: None)
    monkeypatch.setattr(disks.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(disks.plugin, "progress", lambda *what: told.append(what[3]))
    assert disks.awaited() == [{"name": "/dev/sda"}]
    assert told == ["waiting for a suitable disk to appear"] * 2


def test_the_wait_ends_with_what_there_is(monkeypatch):
    monkeypatch.setattr(disks, "disks", list)
    monkeypatch.setattr(disks, "PATIENCE_S", 0)
    assert disks.awaited() == []


def test_the_target_that_the_firmware_names_is_connected_once(monkeypatch, tmp_path):
    calls, warnings = [], []
    monkeypatch.setattr(disks.plugin, "tool", lambda *argv, timeout_s: calls.append(argv))
    monkeypatch.setattr(disks.plugin, "warn", warnings.append)
    disks.connect_boot_luns(tmp_path)
    assert calls == [], "no iBFT"
    (tmp_path / disks.IBFT).mkdir(parents=True)
    disks.connect_boot_luns(tmp_path)
    assert calls == [("iscsistart", "-b")]
    (tmp_path / disks.SESSIONS).mkdir(parents=True)
    (tmp_path / disks.SESSIONS / "session1").mkdir()
    disks.connect_boot_luns(tmp_path)
    assert len(calls) == 1

    def absent(*argv, timeout_s):
        raise Failed("tool_missing", "iscsistart is not installed in this ramdisk")

    (tmp_path / disks.SESSIONS / "session1").rmdir()
    monkeypatch.setattr(disks.plugin, "tool", absent)
    disks.connect_boot_luns(tmp_path)
    assert "iscsistart is not installed" in warnings[0]
