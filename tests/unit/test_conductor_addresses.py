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
