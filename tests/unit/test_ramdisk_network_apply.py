import json
import os

import pytest

from agent_router.ramdisk.network import apply
from agent_router.ramdisk.network.plan import dhcpcd_lines, plan
from tests.support.network_data import CARD, DATA, GOOD, GOOD_NET, MAC, PRESENT, STATIC, captured, document


@pytest.fixture
def fake_ip(monkeypatch):
    """Records what ip is asked for; fails where the joined arguments contain one of `fails`."""
    calls, fails = [], []

    def run(argv, **_):
        class Done:
            returncode = 2 if any(text in " ".join(argv) for text in fails) else 0
            stderr = "Error: Unknown device type.\n" if returncode else ""

        calls.append(" ".join(argv[1:]))
        return Done

    monkeypatch.setattr(apply.subprocess, "run", run)
    monkeypatch.setattr(apply, "_no_router_advertisements", lambda name: calls.append(f"no RA on {name}"))
    return calls, fails


def test_router_advertisements_are_heeded_where_the_document_says(fake_ip):
    calls, _ = fake_ip
    apply.apply(plan(captured("ipv6_kinds"), PRESENT))
    apply.apply(plan(captured("ironic_static"), PRESENT))
    assert [call for call in calls if "RA" in call] == ["no RA on eth1"]


def test_members_of_a_bond_that_cannot_be_made_get_dhcp(fake_ip):
    calls, fails = fake_ip
    fails.append("type bond")
    made = plan(captured("bond_vlan"), PRESENT)
    lost = apply.apply(made)
    assert lost == {"bond0", "bond0.102", "eth1", "eth2"}
    assert dhcpcd_lines(made, lost) == []
    assert not made.works(lost)
    assert not any("master" in call or "vlan" in call for call in calls)
    assert "failed: Error: Unknown device type.; the kernel lacks a driver" in made.problems[0]


def test_a_nic_that_accepts_no_address_gets_dhcp(fake_ip):
    calls, fails = fake_ip
    fails.append("192.0.2.10/24")
    made = plan(document([CARD, GOOD], [{**STATIC, "gateway": "192.0.2.1"}, GOOD_NET]), PRESENT)
    lost = apply.apply(made)
    assert lost == {"eth1"}
    assert dhcpcd_lines(made, lost) == ["denyinterfaces eth2"]
    assert not any("route" in call for call in calls)


def test_an_mtu_that_the_nic_refuses_affects_nothing_else(fake_ip):
    _, fails = fake_ip
    fails.append("mtu")
    made = plan(captured("nova_ovs"), PRESENT)
    assert apply.apply(made) == set()
    assert made.problems == [
        "`ip link set dev eth1 mtu 1450` failed: Error: Unknown device type.; the kernel lacks a driver",
    ]


# Interfaces of the machine


def net(root, name, mac, kind="1", **files):
    directory = root / name
    directory.mkdir(parents=True)
    for file, text in {"address": mac, "type": kind, **files}.items():
        path = directory / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    return directory


def test_nics_by_mac(tmp_path):
    net(tmp_path, "lo", "00:00:00:00:00:00", "772")
    net(tmp_path, "eth1", MAC.format(1))
    net(tmp_path, "eth2", MAC.format(1), **{"bonding_slave/perm_hwaddr": MAC.format(2).upper()})
    (net(tmp_path, "bond0", MAC.format(1)) / "lower_eth1").mkdir()
    assert apply.present(tmp_path) == {MAC.format(1): "eth1", MAC.format(2): "eth2"}


def test_waits_for_a_late_nic(tmp_path, monkeypatch):
    net(tmp_path, "eth1", MAC.format(1))
    monkeypatch.setattr(apply.time, "sleep", lambda _: net(tmp_path, "eth2", MAC.format(2)))
    assert apply.wait_for({MAC.format(2)}, 60, tmp_path)[MAC.format(2)] == "eth2"


def test_the_wait_has_a_limit(tmp_path, monkeypatch):
    net(tmp_path, "eth1", MAC.format(1))
    clock = iter(range(100))
    monkeypatch.setattr(apply.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(apply.time, "sleep", lambda _: None)
    assert apply.wait_for({MAC.format(2)}, 30, tmp_path) == {MAC.format(1): "eth1"}


# The program


@pytest.fixture
def machine(tmp_path, monkeypatch, fake_ip):
    """A machine with eth1 and eth2."""
    for n in (1, 2):
        net(tmp_path / "net", f"eth{n}", MAC.format(n))
    (tmp_path / "etc").mkdir()
    for function, name in ((apply.wait_for, "net"), (apply.write_resolv_conf, "etc")):
        default = tmp_path / name
        monkeypatch.setattr(function, "__defaults__", (*(function.__defaults__ or ())[:-1], default))
    return tmp_path


def test_program_prints_lines_for_dhcpcd_and_writes_dns(machine, capsys):
    assert apply.main([str(DATA / "ironic_static.json")]) == 0
    assert capsys.readouterr().out == "denyinterfaces eth1\n"
    for name in ("resolv.conf", "resolv.conf.head"):
        assert (machine / "etc" / name).read_text() == "nameserver 192.0.2.53\n"


def test_program_reports_problems_and_continues(machine, capsys):
    file = machine / "data.json"
    file.write_text(json.dumps(document([CARD], [STATIC, {**STATIC, "id": "bad", "type": "x"}])))
    assert apply.main([str(file)]) == 0
    assert capsys.readouterr().err.startswith("network data: Network bad: unknown type 'x'; ")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"{}", b"[" * 100_000])
def test_program_fails_if_nothing_can_be_used(machine, capsys, text):
    file = machine / "data.json"
    file.write_bytes(text)
    assert apply.main([str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("network data: ")
    assert not os.listdir(machine / "etc")
