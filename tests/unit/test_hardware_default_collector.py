import pytest

from agent_router.hardware import default_collector
from tests.support.stack import described

GIB = 1 << 30


def disk(name, size):
    return {"name": name, "size": size}


@pytest.mark.parametrize(("disks", "chosen"), [
    ([("/dev/sda", 500 * GIB), ("/dev/sdb", 4 * GIB), ("/dev/sdc", 4 * GIB - 1)], "/dev/sdb"),
    ([("/dev/sdb", 10 * GIB), ("/dev/sda", 10 * GIB)], "/dev/sda"),
    ([("/dev/sda", GIB)], None),
    ([], None),
])  # fmt: skip
def test_root_disk(monkeypatch, disks, chosen):
    there = [described(name.removeprefix("/dev/"), size / GIB) for name, size in disks]
    monkeypatch.setattr(default_collector.disks, "disks", lambda: there)
    found = default_collector.root_disk([disk(*one) for one in disks])
    assert (found and found["name"]) == chosen


@pytest.mark.parametrize(("bootif", "mac"), [
    ("01-52-54-00-AA-01-01", "52:54:00:aa:01:01"), ("52:54:00:aa:01:01", "52:54:00:aa:01:01"),
    ("20-52-54-00-aa-01-01", "52:54:00:aa:01:01"), ("", None), ("eth0", None), ("01-52-54", None),
])  # fmt: skip
def test_boot_interface(bootif, mac):
    assert default_collector.mac(bootif) == mac


@pytest.mark.parametrize(("given", "collectors"), [
    ({}, ["default"]), ({"ipa-inspection-collectors": "default, logs,"}, ["default", "logs"]),
])  # fmt: skip
def test_configuration(given, collectors):
    found = default_collector.configuration(given)
    assert found["collectors"] == collectors
    assert [manager["name"] for manager in found["managers"]] == ["agent-router"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(cmdline, request)` inspects a machine with one interface and one disk."""

    def inventory(request):
        interfaces = [{"name": "eth0", "lldp": None}, {"name": "ib0", "lldp": None}]
        return {"interfaces": interfaces, "disks": [disk("/dev/sda", 8 * GIB)], "boot": {"pxe_interface": None}}

    monkeypatch.setattr(default_collector, "inventory", inventory)
    monkeypatch.setattr(default_collector.disks, "disks", lambda: [described("sda", 8)])
    heard: list[float] = []
    monkeypatch.setattr(
        default_collector.lldp, "listen", lambda seconds: heard.append(seconds) or {"eth0": [(1, "aa")]}
    )

    def inspect(cmdline, request):
        (tmp_path / "cmdline").write_text(cmdline)
        return default_collector.inspect(request, tmp_path), heard

    return inspect


@pytest.mark.parametrize(("cmdline", "request_", "heard_s"), [
    ("quiet", {}, []), ("ipa-collect-lldp=0", {}, []), ("ipa-collect-lldp=1", {}, [35]),
    ("quiet", {"lldp": True}, [35]), ("ipa-collect-lldp=1", {"lldp": False}, []),
    ("ipa-collect-lldp=true ipa-lldp-timeout=50", {}, [50]),
])  # fmt: skip
def test_lldp_is_listened_for_only_if_asked(machine, cmdline, request_, heard_s):
    data, heard = machine(cmdline, request_)
    assert heard == heard_s
    tlvs = [interface["lldp"] for interface in data["inventory"]["interfaces"]]
    assert tlvs == ([[(1, "aa")], None] if heard_s else [None, None])


def test_what_there_is_not_is_left_out(machine):
    data, _ = machine("quiet", {})
    assert set(data) == {"inventory", "root_disk", "configuration"}


def test_a_machine_without_interfaces_is_warned_of(monkeypatch, tmp_path):
    said: list[str] = []
    monkeypatch.setattr(default_collector.plugin, "warn", said.append)
    empty = {"interfaces": [], "disks": [], "boot": {"pxe_interface": None}}
    monkeypatch.setattr(default_collector, "inventory", lambda request: empty)
    assert "root_disk" not in default_collector.inspect({}, tmp_path)
    assert said == ["this machine has no network interface, and Ironic accepts no inventory without one"]
