import json

import pytest

from agent_router.hardware import bmc

# ipmitool(1): lan print, lan6 print.
LAN = """Set in Progress         : Set Complete
IP Address Source       : DHCP Address
IP Address              : {}
Subnet Mask             : 255.255.255.0
MAC Address             : 00:26:b9:33:25:d9
Default Gateway IP      : 192.0.2.1
"""
LAN6 = """IPv6 Static Address 0:
    Enabled:        no
    Address:        ::/0
    Status:         disabled
IPv6 Dynamic Address 0:
    Source/Type:    DHCPv6
    Address:        2001:db8::17/64
    Status:         active
IPv6 Dynamic Address 1:
    Source/Type:    SLAAC
    Address:        2001:db8::18/64
    Status:         active
"""


def test_parse_lan():
    expected = {"bmc_address": "192.0.2.17", "bmc_mac": "00:26:b9:33:25:d9"}
    assert bmc.parse_lan(LAN.format("192.0.2.17")) == expected
    assert bmc.parse_lan("Invalid channel: 3") == {}


def test_parse_lan6():
    assert bmc.parse_lan6(LAN6) == "2001:db8::17"
    assert bmc.parse_lan6(LAN6.replace("active", "disabled")) == "::/0"
    assert bmc.parse_lan6("") == "::/0"
    static = LAN6.replace("::/0", "2001:db8::1/64").replace("disabled", "active")
    assert bmc.parse_lan6(static) == "2001:db8::1"


@pytest.fixture
def answers(monkeypatch, tmp_path):
    """Answers of ipmitool by its arguments; the machine has /dev/ipmi0."""
    (tmp_path / "ipmi0").touch()
    told: dict[str, str | None] = {"mc info": "Device ID : 32"}
    asked: list[str] = []

    def ask(name, *args, **options):
        asked.append(" ".join(args))
        return told.get(" ".join(args))

    monkeypatch.setattr(bmc, "ask", ask)
    return told, asked, tmp_path


def test_the_first_channel_with_an_address_counts(answers):
    told, _, dev = answers
    told |= {
        "lan print 1": LAN.format("0.0.0.0"),
        "lan print 8": LAN.format("192.0.2.17"),
        "lan6 print 8": LAN6,
    }
    assert bmc.addresses(dev) == {
        "bmc_address": "192.0.2.17",
        "bmc_mac": "00:26:b9:33:25:d9",
        "bmc_v6address": "2001:db8::17",
    }


def test_a_bmc_with_ipv6_alone_has_a_mac_and_its_global_address_counts(answers):
    told, _, dev = answers
    local = LAN6.replace("2001:db8::17", "fe80::17")
    told |= {"lan print 1": LAN.format("0.0.0.0"), "lan6 print 1": local.replace("2001:db8::18", "FE80::18")}
    assert bmc.addresses(dev) == {
        "bmc_address": "0.0.0.0",
        "bmc_mac": "00:26:b9:33:25:d9",
        "bmc_v6address": "fe80::17",
    }
    told["lan6 print 1"] = local
    assert bmc.addresses(dev)["bmc_v6address"] == "2001:db8::18"
    told |= {"lan6 print 1": local.replace("2001:db8::18", "fe80::18"), "lan6 print 8": LAN6}
    assert bmc.addresses(dev)["bmc_v6address"] == "2001:db8::17", "another channel may have a global one"


def test_a_mac_of_zeros_is_none():
    assert bmc.parse_lan("MAC Address             : 00:00:00:00:00:00\n") == {}


@pytest.mark.parametrize(("info", "asked_"), [({"agent_skip_bmc_detect": True}, False), ({}, True), (None, True)])
def test_ironic_may_not_want_the_addresses_of_the_bmc(answers, monkeypatch, info, asked_):
    _, asked, dev = answers
    monkeypatch.setenv("AGENT_STATE_DIR", str(dev))
    (dev / "node.json").write_text(json.dumps({"driver_internal_info": info}))
    bmc.addresses(dev)
    assert bool(asked) is asked_


def test_a_bmc_without_addresses(answers):
    assert bmc.addresses(answers[2]) == {"bmc_address": "0.0.0.0", "bmc_v6address": "::/0"}


def test_a_dead_bmc_is_asked_once(answers):
    told, asked, dev = answers
    told["mc info"] = None
    assert bmc.addresses(dev) == {}
    assert asked == ["mc info"]


def test_no_bmc(answers, tmp_path):
    assert bmc.addresses(tmp_path / "empty") == {}
    assert answers[1] == []
