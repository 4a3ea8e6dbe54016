import pytest

from agent_router.plugin import Failed, Refused
from agent_router.storage import root_device
from agent_router.storage.root_device import choose, describe, is_disk, shown, skipped

GIB = 1 << 30


def disk(name, size_gib=10, **more):
    return {
        "name": f"/dev/{name}",
        "size": size_gib * GIB,
        "rotational": False,
        "model": None,
        "serial": [],
        "wwn": [],
        **more,
    }


def node(name, kind="disk", size_gib=10, children=(), **more):
    return {"kname": name, "type": kind, "size": size_gib * GIB, "children": list(children), **more}


def test_without_hints_the_smallest_of_four_gib_or_more():
    found = [disk("sdc", 20), disk("sdb", 4), disk("sda", 4), disk("sdd", 3.99)]
    assert choose(found, {}, []) == ["/dev/sda", "/dev/sdb", "/dev/sdc"]


def test_with_hints_every_match_in_order():
    found = [disk("sdb", 20), disk("sda", 1, model="x"), disk("sdc", 30)]
    assert choose(found, {"size": ">= 20"}, []) == ["/dev/sdb", "/dev/sdc"]
    assert choose(found, {"model": "x"}, []) == ["/dev/sda"], "a disk that is asked for may be small"


def test_skipped_devices_are_never_chosen(tmp_path):
    found = [disk("sda", 5), disk("sdb", 6), disk("sdc", 7)]
    assert choose(found, {}, [{"name": "/dev/sda"}, {"size": 6}]) == ["/dev/sdc"]
    assert choose(found, {"name": "/dev/sda"}, [{"name": "/dev/sda"}]) == []


def test_an_array_is_skipped_by_its_name(monkeypatch):
    monkeypatch.setattr(root_device.os.path, "realpath", lambda path: {"/dev/md/data": "/dev/md127"}.get(path, path))
    assert skipped(disk("md127"), [{"volume_name": "data"}])
    assert not skipped(disk("md126"), [{"volume_name": "data"}])


def test_what_is_a_disk():
    assert is_disk(node("sda"))
    assert is_disk(node("md127", "raid1"))
    assert is_disk(node("dm-0", "mpath"))
    for other in (
        node("sr0", "rom"),
        node("loop0", "loop"),
        node("sda1", "part"),
        node("ram0"),
        node("zram0"),
        node("mmcblk0boot0"),
        node("sdb", size_gib=0),
        node("fd0"),
    ):
        assert not is_disk(other), other


def test_arrays_and_multipath_devices_are_found_once_below_their_disks(monkeypatch):
    array = node("md127", "raid1", 9)
    path = node("dm-0", "mpath", 20)
    tree = [
        node("sda", children=[array]),
        node("sdb", children=[array]),
        node("sdc", children=[path]),
        node("sdd", children=[path]),
    ]
    monkeypatch.setattr(root_device.lsblk, "tree", lambda probe: tree)
    monkeypatch.setattr(root_device, "udev", lambda name: {})
    names = [found["name"] for found in root_device.disks()]
    assert names == ["/dev/sda", "/dev/md127", "/dev/sdb", "/dev/dm-0"]


def test_serial_and_wwn_are_what_lsblk_and_udev_say():
    known = {"ID_SERIAL_SHORT": "S1", "ID_SERIAL": "Acme_S1", "ID_WWN": "0x5", "ID_WWN_WITH_EXTENSION": "0x57"}
    found = describe(node("sda", serial="S1", wwn="0x57 ", rota="1", ro=False, model="Acme  "), known, {})
    assert (found["serial"], found["wwn"]) == (["S1", "Acme_S1"], ["0x57", "0x5"])
    assert (found["rotational"], found["model"], found["wwn_with_extension"]) == (True, "Acme", "0x57")


def test_what_is_said_when_nothing_fits(monkeypatch):
    monkeypatch.setattr(root_device, "disks", lambda: [disk("sda", 2, model="Acme", serial=["S1", "S2"])])
    with pytest.raises(Failed) as failed:
        root_device.find({"root_device": {"serial": "X"}})
    assert failed.value.code == "no_root_device"
    assert "{'serial': 'X'}; there are: /dev/sda (2.0 GiB, model Acme, serial S1, S2)" in failed.value.message
    with pytest.raises(Failed, match=r"No disk has at least 4 GiB; there are: /dev/sda"):
        root_device.find({})
    assert shown(disk("sdb")) == "/dev/sdb (10.0 GiB)"


def test_only_what_the_device_list_allows_is_taken(monkeypatch):
    monkeypatch.setattr(root_device, "disks", lambda: [disk("sda", 5), disk("sdb", 6)])
    monkeypatch.setattr(root_device.plugin, "log", lambda text: None)
    allowed = {"/dev/sdb"}
    monkeypatch.setattr(
        root_device.devices, "refusal", lambda name, patterns: "" if name in allowed else f"{name} is protected"
    )
    assert root_device.find({}) == "/dev/sdb"
    allowed.clear()
    with pytest.raises(Refused, match="/dev/sda is protected; /dev/sdb is protected"):
        root_device.find({})


def test_hints_of_the_instance_win(monkeypatch):
    monkeypatch.setattr(root_device, "disks", lambda: [disk("sda", 5), disk("sdb", 6)])
    monkeypatch.setattr(root_device.plugin, "log", lambda text: None)
    monkeypatch.setattr(root_device.devices, "refusal", lambda name, patterns: "")
    hints = {"root_device": {"name": "/dev/sda"}, "instance_root_device": {"name": "/dev/sdb"}}
    assert root_device.find(hints) == "/dev/sdb"
    assert root_device.find({**hints, "instance_root_device": {}}) == "/dev/sda"
