import json
from pathlib import Path

import pytest

from agent_router.hardware import interfaces

DATA = Path(__file__).resolve().parents[1] / "data/ip"


def net(tmp_path, **kinds):
    """kinds: name to (ARP type, has a device)."""
    for name, (kind, device) in kinds.items():
        directory = tmp_path / "class/net" / name
        directory.mkdir(parents=True)
        (directory / "type").write_text(f"{kind}\n")
        if device:
            (directory / "device").mkdir()
    return tmp_path


@pytest.mark.parametrize(("kinds", "chosen"), [
    ({"lo": (772, False), "eth1": (1, True), "eth0": (1, True), "br0": (1, False)}, ["eth0", "eth1"]),
    ({"lo": (772, False), "ib0": (32, True)}, ["ib0"]),
    # In a container there are only virtual ones, and Ironic wants at least one.
    ({"lo": (772, False), "eth0": (1, False), "sit0": (776, False)}, ["eth0"]),
    ({"lo": (772, False)}, []),
])  # fmt: skip
def test_choose(tmp_path, kinds, chosen):
    assert interfaces.choose(net(tmp_path, **kinds)) == chosen


def test_bonds_and_vlans_are_listed_too(tmp_path):
    sys = net(tmp_path, eth0=(1, True), bond0=(1, False), **{"bond0.7": (1, False)}, br0=(1, False))
    for name, kind in (("bond0", "bond"), ("bond0.7", "vlan"), ("br0", "bridge")):
        (sys / "class/net" / name / "uevent").write_text(f"DEVTYPE={kind}\nINTERFACE={name}\n")
    assert interfaces.choose(sys) == ["bond0", "bond0.7", "eth0"]


def test_members_of_a_bond_have_their_own_addresses(tmp_path, monkeypatch):
    sys = net(tmp_path, eth0=(1, True), eth1=(1, True), eth2=(1, True))
    for name in ("eth0", "eth1", "eth2"):
        (sys / "class/net" / name / "address").write_text("52:54:00:00:00:01\n")
    (sys / "class/net/eth1/bonding_slave").mkdir()
    (sys / "class/net/eth1/bonding_slave/perm_hwaddr").write_text("52:54:00:00:00:02\n")
    told = [{"ifname": "eth2", "permaddr": "52:54:00:00:00:03"}, {"ifname": "eth0", "permaddr": "00:00:00:00:00:00"}]
    monkeypatch.setattr(interfaces, "ask", lambda *_, **__: json.dumps(told))
    found = [interface["mac_address"] for interface in interfaces.interfaces(sys)]
    assert found == ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"]


def test_a_machine_without_network(tmp_path):
    assert interfaces.choose(tmp_path) == []


def test_captured_addresses():
    found = interfaces.parse_addresses((DATA / "virtio_vm.out").read_text())
    assert interfaces.pick_address(found["eth0"], "inet") == "192.0.2.2"
    assert interfaces.pick_address(found["eth0"], "inet6") == "fd00::2"
    assert interfaces.pick_address(found["ifb0"], "inet6") is None


@pytest.mark.parametrize("text", ["", "not JSON"])
def test_addresses_that_are_not_json(text):
    assert interfaces.parse_addresses(text) == {}


def test_a_global_address_is_better_than_a_link_local_one():
    local = {"family": "inet6", "local": "fe80::1", "scope": "link"}
    world = {"family": "inet6", "local": "2001:db8::1", "scope": "global"}
    assert interfaces.pick_address([local, world], "inet6") == "2001:db8::1"
    assert interfaces.pick_address([local], "inet6") == "fe80::1"


def test_hardware_address_of_ethernet():
    assert interfaces.hardware_address("52:54:00:aa:01:01", "0x8086") == ("52:54:00:aa:01:01", None)


@pytest.mark.parametrize(("vendor", "client_id"), [
    ("0x15b3", "ff:00:00:00:00:00:02:00:00:02:c9:00:7c:fe:90:03:00:29:26:52"), ("0x1077", None),
])  # fmt: skip
def test_hardware_address_of_infiniband(vendor, client_id):
    address = "a0:00:00:27:fe:80:00:00:00:00:00:00:7c:fe:90:03:00:29:26:52"
    assert interfaces.hardware_address(address, vendor) == ("7c:fe:90:29:26:52", client_id)


@pytest.mark.parametrize(("text", "speed"), [("10000", 10000), ("-1", None), (None, None), ("", None)])
def test_speed(text, speed):
    assert interfaces.speed(text) == speed


def test_pci_address_of_a_virtio_interface_is_that_of_its_pci_device(tmp_path):
    device = tmp_path / "pci0000:00/0000:00:01.0/0000:3b:00.1/virtio2"
    device.mkdir(parents=True)
    assert interfaces.pci_address(device) == "0000:3b:00.1"
    assert interfaces.pci_address(tmp_path) is None
