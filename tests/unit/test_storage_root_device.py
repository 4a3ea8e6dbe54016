import pytest

from agent_router.plugin import Failed, Refused
from agent_router.storage import disks, root_device
from agent_router.storage.root_device import choose, shown
from tests.support.stack import described as disk


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr(disks, "PATIENCE_S", 0)


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


def test_neither_write_protected_disks_nor_members_of_an_array_are_chosen():
    member = disk("sda", 5, member_of=["/dev/md127"])
    found = [member, disk("sdb", 6, read_only=True), disk("md127", 7, "raid1", members=["/dev/sda"]), disk("sdc", 8)]
    assert choose(found, {}, []) == ["/dev/md127", "/dev/sdc"]
    assert choose(found, {"name": "/dev/sdb"}, []) == []
    assert shown(found[1]) == "/dev/sdb (6.0 GiB, write-protected)"
    assert shown(member) == "/dev/sda (5.0 GiB, member of /dev/md127)"


def test_what_is_said_when_nothing_fits(monkeypatch):
    monkeypatch.setattr(disks, "disks", lambda: [disk("sda", 2, model="Acme", serial=["S1", "S2"])])
    with pytest.raises(Failed) as failed:
        root_device.find({"root_device": {"serial": "X"}})
    assert failed.value.code == "no_root_device"
    assert "{'serial': 'X'}; there are: /dev/sda (2.0 GiB, model Acme, serial S1, S2)" in failed.value.message
    with pytest.raises(Failed, match=r"No disk has at least 4 GiB; there are: /dev/sda"):
        root_device.find({})
    assert shown(disk("sdb")) == "/dev/sdb (10.0 GiB)"


def test_only_what_the_device_list_allows_is_taken(monkeypatch):
    monkeypatch.setattr(disks, "disks", lambda: [disk("sda", 5), disk("sdb", 6)])
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
    monkeypatch.setattr(disks, "disks", lambda: [disk("sda", 5), disk("sdb", 6)])
    monkeypatch.setattr(root_device.plugin, "log", lambda text: None)
    monkeypatch.setattr(root_device.devices, "refusal", lambda name, patterns: "")
    hints = {"root_device": {"name": "/dev/sda"}, "instance_root_device": {"name": "/dev/sdb"}}
    assert root_device.find(hints) == "/dev/sdb"
    assert root_device.find({**hints, "instance_root_device": {}}) == "/dev/sda"
