import pytest

from agent_router.plugin import Refused
from agent_router.storage import erase_targets
from agent_router.storage.erase_targets import EraseOptions
from tests.support.stack import Stack, described


@pytest.fixture
def choose(monkeypatch):
    """`choose(found, skip=…)` on a machine with these disks; what protects them is in `choose.protection`."""
    monkeypatch.setattr(erase_targets.devices, "refusal", lambda name, patterns: "")
    monkeypatch.setattr(erase_targets.devices, "protection", lambda name, patterns: excluded.get(name, ""))
    monkeypatch.setattr(erase_targets.lsblk, "tree", lambda device: [])
    monkeypatch.setattr(erase_targets.protected, "reasons", lambda *_: protection)
    monkeypatch.setattr(erase_targets.plugin, "warn", lambda text: None)
    protection, excluded = {}, {}

    def run(*found):
        monkeypatch.setattr(erase_targets.disks, "awaited", lambda: list(found))
        return erase_targets.choose({}, EraseOptions())

    run.protection, run.excluded = protection, excluded
    return run


def two_members():
    members = [described(name, member_of=["/dev/md127"]) for name in ("sda", "sdb")]
    return members, described("md127", kind="raid1", members=["/dev/sda", "/dev/sdb"])


def test_the_members_of_an_array_are_erased_instead_of_the_array(monkeypatch, choose):
    Stack(monkeypatch, {"sda": ["md127"], "sdb": ["md127"]})
    members, array = two_members()
    chosen = choose(members[0], array, members[1])
    assert (chosen.names, chosen.skipped) == (["sda", "sdb"], {})


def test_an_array_that_is_taken_down_is_not_told_as_skipped(monkeypatch, choose):
    Stack(monkeypatch, {"sda": ["md127"], "sdb": ["md127"]})
    members, array = two_members()
    monkeypatch.setattr(erase_targets.disks, "awaited", lambda: [*members, {**array, "read_only": True}])
    chosen = erase_targets.choose({}, EraseOptions(), read_only_is_skipped=True)
    assert (chosen.names, chosen.skipped) == (["sda", "sdb"], {})


def test_an_array_beside_a_protected_one_on_the_same_disks_is_erased_itself(monkeypatch, choose):
    holders = {"sda1": ["md126"], "sdb1": ["md126"], "sda2": ["md127"], "sdb2": ["md127"], "md127": ["dm-0"]}
    stack = Stack(monkeypatch, holders)
    stack.parts = {"sda": ["sda1", "sda2"], "sdb": ["sdb1", "sdb2"]}
    members, array = two_members()
    kept = described("md126", kind="raid1", members=["/dev/sda", "/dev/sdb"])
    choose.protection.update(dict.fromkeys(("/dev/sda", "/dev/sdb", "/dev/md126"), "why"))
    chosen = choose(members[0], array, kept, members[1])
    assert (chosen.names, set(chosen.skipped)) == (["md127"], {"/dev/sda", "/dev/sdb", "/dev/md126"})


def test_a_disk_that_shares_an_array_with_a_skipped_one_is_refused(monkeypatch, choose):
    Stack(monkeypatch, {"sda": ["md127"], "sdb": ["md127"]})
    members, array = two_members()
    choose.protection.update({"/dev/sda": "why", "/dev/md127": "why"})
    with pytest.raises(Refused, match="/dev/sdb and /dev/sda, which is skipped, are both parts of md127; skip both"):
        choose(*members, array)


def test_a_mapping_that_is_mounted_is_in_use(monkeypatch, choose):
    stack = Stack(monkeypatch, {"sda": ["dm-0"]})
    assert choose(described("sda")).names == ["sda"]
    stack.mounted = {"dm-0": ["/data"]}
    with pytest.raises(Refused, match="/dev/sda is in use: dm-0 is mounted at /data"):
        choose(described("sda"))


def test_what_the_device_list_excludes_protects_the_disks_below_it(monkeypatch, choose):
    Stack(monkeypatch, {"sda": ["md127"]})
    choose.excluded["/dev/md127"] = "/dev/md127 is protected by '!/dev/md*'"
    with pytest.raises(Refused, match="/dev/sda cannot be erased: /dev/md127 is protected"):
        choose(described("sda"))


@pytest.mark.parametrize("label", ["ir-vfd-dev", "IR-VFD-DEV", "VMEDIA_BOOT_ISO"])
def test_ironics_virtual_medium_is_left_out(monkeypatch, choose, label):
    Stack(monkeypatch, {})
    medium = described("sdz", 0.001, labels=[label], tran="usb")
    assert "virtual medium" in choose(medium).skipped["/dev/sdz"]
    # A tenant can give any label to a disk of the machine.
    assert choose({**medium, "tran": "sata"}).names == ["sdz"]
    assert choose(described("sdz", 8, labels=[label], tran="usb")).names == ["sdz"]
