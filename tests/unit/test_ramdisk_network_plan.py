import pytest

from agent_router.ramdisk.network.plan import NetworkPlan, dhcpcd_lines, macs, plan
from tests.support.network_data import (
    CARD,
    GOOD,
    GOOD_NET,
    MAC,
    PRESENT,
    STATIC,
    captured,
    commands,
    document,
    work,
)


def test_static_address_routes_and_dns():
    made = plan(captured("ironic_static"), PRESENT)
    assert commands(made) == [
        "link set dev eth1 up",
        "-4 address replace 192.0.2.10/24 broadcast + dev eth1",
        "-4 route replace 0.0.0.0/0 via 192.0.2.1 dev eth1 onlink metric 100",
        "-4 route replace 198.51.100.0/24 via 192.0.2.2 dev eth1 onlink metric 101",
    ]
    assert made.nameservers == ["192.0.2.53"]
    assert dhcpcd_lines(made) == ["denyinterfaces eth1"]
    assert made.problems == []


def test_dhcp_and_static_on_one_port_of_nova():
    made = plan(captured("nova_ovs"), PRESENT)
    assert commands(made) == [
        "link set dev eth1 mtu 1450",
        "link set dev eth1 up",
        "-6 address replace 2001:db8:9:19:f180:658c:2eeb:520c/48 dev eth1",
        "-6 route replace ::/0 via 2001:db8:9::1 dev eth1 onlink metric 100",
    ]
    assert dhcpcd_lines(made) == ["interface eth1", "noipv6"]
    assert made.nameservers == ["192.0.2.53", "2001:db8::53"]
    assert made.problems == []


def test_bond_of_two_cards_with_a_vlan_on_it():
    made = plan(captured("bond_vlan"), PRESENT)
    assert made.problems == []
    options = "miimon 50 lacp_rate fast xmit_hash_policy layer3+4"
    assert commands(made)[4:] == [
        f"link add name bond0 address {MAC.format(1)} type bond mode 802.3ad {options}",
        "link set dev eth1 down",
        "link set dev eth1 master bond0",
        "link set dev eth2 down",
        "link set dev eth2 master bond0",
        "link set dev bond0 mtu 9000",
        "link set dev bond0 up",
        "link add link bond0 name bond0.102 address 52:54:00:00:00:99 type vlan id 102",
        "link set dev bond0.102 up",
        "-4 address replace 198.51.100.20/25 broadcast + dev bond0.102",
        "-6 address replace 2001:db8:102::20/64 dev bond0.102",
        "-4 route replace 0.0.0.0/0 via 198.51.100.1 dev bond0.102 onlink metric 100",
        "-6 route replace ::/0 via fe80::1 dev bond0.102 onlink metric 101",
    ]
    assert made.nameservers == ["198.51.100.53", "2001:db8::53"]
    assert dhcpcd_lines(made) == ["denyinterfaces eth1 eth2 bond0.102", "interface bond0", "noipv6"]


def test_kinds_of_dynamic_ipv6():
    made = plan(captured("ipv6_kinds"), PRESENT)
    assert not any("address" in line for line in commands(made))
    assert dhcpcd_lines(made) == [
        "interface eth1", "noipv4", "interface eth2", "noipv4", "ia_na", "interface eth3",
    ]  # fmt: skip
    assert made.problems == []


@pytest.mark.parametrize("address, mask, full", [
    ("192.0.2.10", "255.255.255.128", "192.0.2.10/25"),
    ("192.0.2.10", 24, "192.0.2.10/24"),
    ("192.0.2.10/26", "255.255.255.0", "192.0.2.10/26"),
    ("2001:db8::2", "ffff:ffff:ffff:ffff::", "2001:db8::2/64"),
    ("2001:db8::2", "48", "2001:db8::2/48"),
    ("2001:db8::2/127", None, "2001:db8::2/127"),
])  # fmt: skip
def test_forms_of_the_netmask(address, mask, full):
    type_ = "ipv6" if ":" in address else "ipv4"
    made = plan(document(networks=[{**STATIC, "type": type_, "ip_address": address, "netmask": mask}]), PRESENT)
    broadcast = ["broadcast", "+"] if type_ == "ipv4" else []
    assert made.interfaces[0].addresses == [[f"-{type_[3]}", "address", "replace", full, *broadcast, "dev", "eth1"]]


def test_two_networks_on_one_link_with_a_gateway_each():
    second = {**STATIC, "id": "m", "ip_address": "198.51.100.1", "gateway": "198.51.100.9"}
    made = plan(document(networks=[{**STATIC, "gateway": "192.0.2.1"}, second]), PRESENT)
    assert [argv[3] for argv in made.interfaces[0].addresses] == ["192.0.2.10/24", "198.51.100.1/24"]
    assert [argv[-1] for argv in made.interfaces[0].routes] == ["100", "101"]


def test_a_route_without_gateway_goes_to_the_link():
    made = plan(document(networks=[{**STATIC, "routes": [{"network": "198.51.100.0/24"}]}]), PRESENT)
    assert commands(made)[-1] == "-4 route replace 198.51.100.0/24 dev eth1 metric 100"


@pytest.mark.parametrize("change, sentence", [
    ({"type": "ipv5"}, "Network n: unknown type 'ipv5'; use one of ipv4, ipv6, ipv4_dhcp"),
    ({"type": None}, "Network n: unknown type None"),
    ({"type": ["ipv4"]}, "Network n: unknown type ['ipv4']"),
    ({"link": "nowhere"}, "Link nowhere is referenced but not listed in \"links\""),
    ({"link": None}, "Network n is skipped: its link None cannot be used"),
    ({"ip_address": "192.0.2.300"}, "Network n: ip_address and netmask are not usable: '192.0.2.300/255.255.255.0'"),
    ({"ip_address": None}, "Network n: ip_address and netmask are not usable: 'None/"),
    ({"ip_address": 5}, "Network n: ip_address and netmask are not usable"),
    ({"netmask": None}, "Network n: address 192.0.2.10 has no netmask"),
    ({"netmask": "255.0.255.0"}, "Network n: ip_address and netmask are not usable"),
    ({"type": "ipv6", "ip_address": "2001:db8::1", "netmask": "ffff::ffff"}, "ffff::ffff is not a netmask"),
    ({"ip_address": "2001:db8::1/64"}, "Network n is of type ipv4 but has the address 2001:db8::1/64"),
])  # fmt: skip
def test_an_unusable_network_affects_nothing_else(change, sentence):
    made = plan(document([CARD, GOOD], [{**STATIC, **change}, GOOD_NET]), PRESENT)
    assert sentence in "\n".join(made.problems)
    assert work(made, "203.0.113.5/24") == ["-4 address replace 203.0.113.5/24 broadcast + dev eth2"]
    assert not any("192.0.2" in line for line in commands(made))


def test_a_nic_whose_only_network_is_unusable_gets_dhcp():
    made = plan(document([CARD, GOOD], [{**STATIC, "ip_address": "x"}, GOOD_NET]), PRESENT)
    assert dhcpcd_lines(made) == ["denyinterfaces eth2"]


def test_a_nic_without_a_network_gets_none():
    assert dhcpcd_lines(plan(document([CARD, GOOD], [GOOD_NET]), PRESENT)) == ["denyinterfaces eth1 eth2"]


@pytest.mark.parametrize("route, sentence", [
    ({"network": "x", "netmask": "255.0.0.0", "gateway": "192.0.2.1"}, "the route to x is not usable"),
    ({"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2"}, "the route to 0.0.0.0 is not usable"),
    ({"network": "::", "netmask": "::", "gateway": "fe80::1"}, "is IPv4 but has a route to ::/0 via fe80::1"),
    ("10.0.0.0/8", '"routes" contains a string, not an object'),
])  # fmt: skip
def test_an_unusable_route_affects_nothing_else(route, sentence):
    good = {"network": "198.51.100.0", "netmask": "255.255.255.0", "gateway": "192.0.2.2"}
    made = plan(document(networks=[{**STATIC, "routes": [route, good]}]), PRESENT)
    assert sentence in "\n".join(made.problems)
    assert commands(made)[-1] == "-4 route replace 198.51.100.0/24 via 192.0.2.2 dev eth1 onlink metric 100"


def test_a_network_on_a_member_of_a_bond_is_refused():
    bond = {"id": "b", "type": "bond", "bond_links": ["l"], "bond_mode": "1"}
    made = plan(document([CARD, bond]), PRESENT)
    assert "Network n uses eth1, a member of bond0; name the bond as its link" in made.problems


def test_invalid_dns_servers():
    services = [{"type": "dns", "address": "ns1"}, {"type": "ntp", "address": "192.0.2.7"}, {"type": "dns"}]
    made = plan(document(services=services), PRESENT)
    assert made.nameservers == []
    assert made.problems == [f"The DNS server {bad} is not an IP address; ignored" for bad in ("'ns1'", "None")]


@pytest.mark.parametrize("what", [[], "x", 5, None, True])
def test_a_document_that_is_not_an_object(what):
    made = plan(what, PRESENT)
    assert "The network data is" in made.problems[0]
    assert not made.works()
    assert macs(what) == set()


@pytest.mark.parametrize("what", [
    {}, {"links": 5, "networks": "x", "services": {}}, {"links": [1, None], "networks": [[]]}, document(networks=[]),
])  # fmt: skip
def test_a_document_that_sets_up_nothing_says_so(what):
    made = plan(what, PRESENT)
    assert made.problems[-1] == "No network in the network data can be set up"
    assert not made.works()
    assert macs(what) <= {MAC.format(1)}


def test_an_empty_plan_does_not_work():
    assert not NetworkPlan().works()
