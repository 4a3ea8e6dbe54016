import pytest

from agent_router.storage import stacks
from tests.support.stack import Stack


def stopped(stack):
    return [(*argv[:-1], argv[-1].removeprefix("/dev/")) for argv in stack.calls if argv[0] != "wipefs"]


def test_mappings_are_taken_down_from_the_top(monkeypatch):
    stack = Stack(monkeypatch, {"sda2": ["dm-0"], "dm-0": ["dm-1", "dm-2"]})
    stack.parts = {"sda": ["sda1", "sda2"]}
    assert stacks.above("sda") == ["dm-1", "dm-2", "dm-0"]
    assert stacks.take_down(["sda"]) == {}
    assert stopped(stack) == [("dmsetup", "remove", name) for name in ("dm-1", "dm-2", "dm-0")]


def test_an_array_over_two_disks_is_stopped_once_and_its_superblocks_are_erased(monkeypatch):
    stack = Stack(monkeypatch, {"sda1": ["md127"], "sdb1": ["md127"], "md127p1": ["dm-0"]})
    stack.parts = {"sda": ["sda1", "sda2"], "sdb": ["sdb1"], "md127": ["md127p1"]}
    assert stacks.take_down(["sda", "sdb"]) == {}
    assert stack.calls == [
        ("dmsetup", "remove", "/dev/dm-0"),
        ("mdadm", "--stop", "/dev/md127"),
        ("wipefs", "--all", "--force", "/dev/sda1"),
        ("wipefs", "--all", "--force", "/dev/sdb1"),
    ]


def test_a_container_is_stopped_after_its_array(monkeypatch):
    stack = Stack(monkeypatch, {"sda": ["md126", "md127"], "md126": ["md125"]})
    assert stacks.take_down(["sda"]) == {}
    assert [argv[-1] for argv in stopped(stack)] == ["md125", "md126", "md127"]


@pytest.mark.parametrize("layer", ["md127", "dm-0"])
def test_what_cannot_be_stopped_is_named_and_its_members_stay_as_they_are(monkeypatch, layer):
    stack = Stack(monkeypatch, {"sda": [layer], "sdb": ["dm-9"]})
    stack.stubborn = {layer}
    failed = stacks.take_down(["sda", "sdb"])
    assert list(failed) == ["sda"]
    assert f"{layer} on it cannot be stopped" in failed["sda"]
    assert "is busy" in failed["sda"]
    assert [argv for argv in stack.calls if argv[0] == "wipefs"] == [("wipefs", "--all", "--force", "/dev/sdb")]


def test_bcache_is_told_to_stop_and_waited_for(monkeypatch, tmp_path):
    stack = Stack(monkeypatch, {"sda": ["bcache0"]})
    monkeypatch.setattr(stacks.blockdev, "sysfs", lambda name: tmp_path / name)
    for place in ("bcache0/bcache", "sdb/bcache/set"):
        (tmp_path / place).mkdir(parents=True)
    for file in ("bcache0/bcache/stop", "sdb/bcache/set/stop"):
        (tmp_path / file).touch()
    assert "bcache0 on it cannot be stopped: it is still there" in stacks.take_down(["sda", "sdb"])["sda"]
    assert (tmp_path / "bcache0/bcache/stop").read_text() == "1"
    assert (tmp_path / "sdb/bcache/set/stop").read_text() == "1", "the cache is no holder, but is in use as well"
    assert stack.calls == [("wipefs", "--all", "--force", "/dev/sdb")]


def test_what_is_mounted_at_any_height_is_in_use(monkeypatch):
    stack = Stack(monkeypatch, {"sda1": ["md127"], "sda2": ["dm-0"], "sda3": ["loop7"]})
    stack.parts = {"sda": ["sda1", "sda2", "sda3"], "md127": ["md127p1"]}
    assert stacks.in_use("sda") == ["loop7 is built on it"]
    stack.mounted = {"md127p1": ["/data"], "dm-0": ["[SWAP]"]}
    assert stacks.in_use("sda") == ["md127p1 is mounted at /data", "dm-0 is in use as swap", "loop7 is built on it"]
