import socket

import pytest

from agent_router.conductor import addresses

INFINIBAND = "80:00:00:48:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1"


@pytest.fixture
def net(tmp_path):
    def add(name, address, kind="1", physical=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text(address + "\n")
        (tmp_path / name / "type").write_text(kind + "\n")
        if physical:
            (tmp_path / name / "device").mkdir()

    add("eth1", "52:54:00:aa:00:02")
    add("eth0", "52:54:00:aa:00:01")
    add("lo", "00:00:00:00:00:00", "772", physical=False)
    add("bond0", "52:54:00:aa:00:01", physical=False)
    add("ib0", INFINIBAND, "32")
    add("wwan0", "", "65534")
    return tmp_path


def test_macs_are_those_of_hardware_in_order(net):
    assert addresses.macs(net) == ["52:54:00:aa:00:01", "52:54:00:aa:00:02", "f4:52:14:7b:cb:a1"]


@pytest.mark.parametrize(("name", "device"), [
    ("enxfa4b7f000001", "plain"), ("usb0", "plain"), ("eth9", "devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0"),
])  # fmt: skip
def test_the_network_over_usb_to_the_bmc_is_left_out(net, name, device):
    (net / device).mkdir(parents=True)
    (net / name).mkdir()
    (net / name / "device").symlink_to(net / device)
    (net / name / "type").write_text("1\n")
    (net / name / "address").write_text("fa:4b:7f:00:00:01\n")
    assert "fa:4b:7f:00:00:01" not in addresses.macs(net)
    # A card on USB has an address of its own.
    (net / name / "address").write_text("3c:ec:ef:00:00:01\n")
    assert "3c:ec:ef:00:00:01" in addresses.macs(net)


def test_the_only_card_counts_in_any_case(tmp_path):
    (tmp_path / "usb0/device").mkdir(parents=True)
    (tmp_path / "usb0/type").write_text("1\n")
    (tmp_path / "usb0/address").write_text("fa:4b:7f:00:00:01\n")
    assert addresses.macs(tmp_path) == ["fa:4b:7f:00:00:01"]


def test_members_of_a_bond_are_known_by_their_own_addresses(net, monkeypatch):
    told = '[{"ifname": "eth0", "permaddr": "52:54:00:aa:00:11"}, {"ifname": "eth1", "address": "52:54:00:aa:00:01"}]'
    monkeypatch.setattr(addresses, "_links", lambda: told)
    (net / "eth1/bonding_slave").mkdir()
    (net / "eth1/bonding_slave/perm_hwaddr").write_text("52:54:00:aa:00:12\n")
    assert addresses.macs(net)[:2] == ["52:54:00:aa:00:11", "52:54:00:aa:00:12"]


def test_an_interface_that_disappears_is_skipped(net):
    (net / "eth0/address").unlink()
    assert addresses.macs(net)[0] == "52:54:00:aa:00:02"


def test_this_machine_has_readable_interfaces():
    assert all(address.count(":") == 5 for address in addresses.macs())


@pytest.mark.parametrize("url", ["http://127.0.0.1:6385", "https://127.0.0.1", "http://localhost:6385/v1"])
def test_the_address_of_the_route(url):
    assert addresses.source_address(url) in {"127.0.0.1", "::1"}


@pytest.mark.parametrize("url", ["http://name.invalid:6385", "http://"])
def test_no_address_is_an_oserror(url, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="not known"):
        addresses.source_address(url)


def test_a_link_local_address_is_not_used_for_ironic(monkeypatch):
    class Probe(socket.socket):
        def connect(self, address):
            pass

        def getsockname(self):
            return ("fe80::1%eth0", 0) if self.family == socket.AF_INET6 else ("192.0.2.7", 0)

    found = [(family, socket.SOCK_DGRAM, 0, "", ("x", 1)) for family in (socket.AF_INET6, socket.AF_INET)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", Probe)
    assert addresses.source_address("http://ironic:6385") == "192.0.2.7"
    found.pop()
    with pytest.raises(OSError, match="no address"):
        addresses.source_address("http://ironic:6385")
