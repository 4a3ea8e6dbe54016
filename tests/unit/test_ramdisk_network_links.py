import pytest

from agent_router.ramdisk.network.plan import dhcpcd_lines, plan
from tests.support.network_data import CARD, GOOD, GOOD_NET, MAC, PRESENT, STATIC, commands, document, work


@pytest.mark.parametrize("type_", ["phy", "vif", "ovs", "bridge", "tap", "hw_veb", "ethernet", "dvs"])
def test_every_type_of_port_is_a_card_here(type_):
    made = plan(document([{**CARD, "type": type_}]), PRESENT)
    assert made.problems == []
    assert made.works()


@pytest.mark.parametrize("mode, kernel", [("1", "active-backup"), (4, "802.3ad"), ("802.1ad", "802.3ad")])
def test_bond_modes_by_other_names(mode, kernel):
    made = plan(document([CARD, {"id": "b", "type": "bond", "bond_links": ["l"], "bond_mode": mode}]), PRESENT)
    assert made.interfaces[1].make == [
        ["link", "add", "name", "bond0", "type", "bond", "mode", kernel, "miimon", "100"],
    ]  # fmt: skip


@pytest.mark.parametrize("given, argv", [
    ({"bond_lacp_rate": 1}, ["lacp_rate", "fast", "miimon", "100"]),
    ({"bond_use_carrier": True}, ["use_carrier", "1", "miimon", "100"]),
    ({"bond_miimon": None}, ["miimon", "100"]),
    ({"bond_arp_interval": 200, "bond_arp_ip_target": ["192.0.2.1", "192.0.2.2"]},
     ["arp_interval", "200", "arp_ip_target", "192.0.2.1,192.0.2.2"]),
])  # fmt: skip
def test_bond_options(given, argv):
    bond = {"id": "b", "type": "bond", "bond_links": ["l"], "bond_mode": "active-backup", **given}
    made = plan(document([CARD, bond]), PRESENT)
    assert made.interfaces[1].make[0][-len(argv) :] == argv
    assert ("miimon" in made.interfaces[1].make[0]) == ("bond_arp_interval" not in given)


def test_primary_of_a_bond_is_set_when_it_is_a_member():
    bond = {"id": "b", "type": "bond", "bond_links": ["l"], "bond_mode": "1", "bond_primary": "l"}
    lines = commands(plan(document([CARD, bond]), PRESENT))
    assert lines.index("link set dev bond0 type bond primary eth1") > lines.index("link set dev eth1 master bond0")


def test_names_that_are_taken_or_too_long():
    present = {MAC.format(1): "enp193s0f1np1", MAC.format(2): "bond0"}
    links = [
        CARD,
        {"id": "bond0", "type": "bond", "bond_links": ["l"], "bond_mode": "1"},
        {"id": "v", "type": "vlan", "vlan_link": "l", "vlan_id": "4000"},
        {"id": "w", "type": "vlan", "vlan_link": "l", "vlan_id": "4000"},
    ]
    names = [interface.name for interface in plan(document(links), present).interfaces]
    assert names == ["enp193s0f1np1", "bond1", "vlan4000x0", "vlan4000x1"]


@pytest.mark.parametrize("link, sentence", [
    ({**CARD, "ethernet_mac_address": "52:54:00:00:00:77"}, "no interface has the MAC 52:54:00:00:00:77 (present: "),
    ({**CARD, "ethernet_mac_address": "52:54"}, "ethernet_mac_address '52:54' is not a MAC address"),
    ({"id": "l", "type": "phy"}, "ethernet_mac_address None"),
    ({**CARD, "ethernet_mac_address": ["x"]}, "ethernet_mac_address"),
    ({"id": "l", "type": "bond", "bond_links": ["g"], "bond_mode": "fast"}, "unknown bond_mode 'fast'; use one of "),
    ({"id": "l", "type": "bond", "bond_links": "g", "bond_mode": "1"}, "has no usable member"),
    ({"id": "l", "type": "bond", "bond_links": ["x"], "bond_mode": "1"}, "Link x is referenced but not listed in"),
    ({"id": "l", "type": "vlan", "vlan_link": "g", "vlan_id": 4095}, "vlan_id 4095 is not a number from 1 to"),
    ({"id": "l", "type": "vlan", "vlan_link": "g", "vlan_id": True}, "vlan_id True is not"),
    ({"id": "l", "type": "vlan", "vlan_link": "nowhere", "vlan_id": 5}, "is skipped: its link nowhere cannot be used"),
    ({"id": "l", "type": "vlan", "vlan_link": "l", "vlan_id": 5}, "Link l is skipped: its link l cannot be used"),
])  # fmt: skip
def test_an_unusable_link_affects_nothing_else(link, sentence):
    made = plan(document([link, GOOD], [STATIC, GOOD_NET]), PRESENT)
    assert sentence in "\n".join(made.problems)
    assert "Network n is skipped: its link l cannot be used" in made.problems
    assert work(made, "203.0.113.5/24") == ["-4 address replace 203.0.113.5/24 broadcast + dev eth2"]
    assert "eth1" not in " ".join(dhcpcd_lines(made)), "the card without a network gets DHCP"


@pytest.mark.parametrize("change, sentence", [
    ({"mtu": "big"}, "Link l: mtu 'big' is not a number from 68 to 65535"),
    ({"mtu": 20}, "Link l: mtu 20"),
    ({"type": "infiniband"}, "Link l: unknown type 'infiniband'; treated as an Ethernet NIC"),
])  # fmt: skip
def test_a_nic_with_an_unknown_attribute_is_still_used(change, sentence):
    made = plan(document([{**CARD, **change}]), PRESENT)
    assert sentence in made.problems[0]
    assert made.works()


def test_an_unknown_bond_option_is_left_out():
    strange = {"bond_colour": "red", "bond_miimon": "1 2"}
    bond = {"id": "b", "type": "bond", "bond_links": ["l"], "bond_mode": "1", **strange}
    made = plan(document([CARD, bond]), PRESENT)
    assert [problem.partition(";")[0] for problem in made.problems[:2]] == [
        "Link b: unknown bond option bond_colour='red'",
        "Link b: unknown bond option bond_miimon='1 2'",
    ]
    assert made.interfaces[1].make[0][-4:] == ["mode", "active-backup", "miimon", "100"]
