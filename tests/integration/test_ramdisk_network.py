"""The network of the ramdisk: its real script with the real dhcpcd, against a real DHCP server, in namespaces."""

import json
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.ramdisk_network import Box, cable, serve_dhcp, why_not
from tests.support.waiting import wait_for

REASON = why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON)]

MAC = "52:54:00:00:00:0{}"
NETWORK = "/usr/lib/agent-router/network"
V4 = "--dhcp-range=192.0.2.100,192.0.2.150,1h"
V4_B = "--dhcp-range=198.51.100.100,198.51.100.150,1h"
V6 = ["--enable-ra", "--dhcp-range=fd00:1::100,fd00:1::1ff,64,1h"]


@pytest.fixture
def boxes(memory_dir):
    """Makes machines; the first is the switch, with a DHCP server's addresses on two ports."""
    made = []

    def make(cmdline="quiet"):
        made.append(Box(Path(tempfile.mkdtemp(dir=memory_dir)), cmdline))
        return made[-1]

    yield make
    for box in made:
        box.close()


@pytest.fixture
def switch(boxes):
    return boxes()


def join(switch, machine, number=1, plugged=True):
    """eth1 or eth2 of the machine at port s1 or s2 of the switch, which has the first address of the network there."""
    cable(switch, f"s{number}", machine, f"eth{number}", MAC.format(number), plugged)
    v4 = {1: "192.0.2.1/24", 2: "198.51.100.1/24"}[number]
    switch.run("ip", "address", "add", v4, "dev", f"s{number}")
    switch.run("ip", "address", "add", f"fd00:{number}::1/64", "dev", f"s{number}", "nodad")


@pytest.fixture
def machine(boxes, switch):
    box = boxes()
    join(switch, box)
    return box


# DHCP


def test_after_a_move_to_another_network_the_addresses_are_asked_for_again(switch, machine):
    first = serve_dhcp(switch, "s1", V4)
    machine.start(NETWORK)
    machine.address("eth1", "192.0.2.1")
    first.kill()
    first.wait()
    switch.run("ip", "address", "flush", "dev", "s1")
    switch.run("ip", "address", "add", "198.51.100.1/24", "dev", "s1")
    serve_dhcp(switch, "s1", V4_B)
    assert machine.addresses("eth1")[0].startswith("192.0.2.1"), "nothing tells the machine"
    machine.start(NETWORK, "again")
    machine.address("eth1", "198.51.100.1")
    assert len(machine.addresses("eth1")) == 1
    assert "default via 198.51.100.1" in machine.routes()


def test_address_by_dhcpv4_and_what_comes_with_it(switch, machine):
    options = ["dns-server,192.0.2.53", "mtu,9000", "ntp-server,192.0.2.7,192.0.2.8"]
    host = f"--dhcp-host={MAC.format(1)},node-17"
    serve_dhcp(switch, "s1", V4, host, *(f"--dhcp-option=option:{option}" for option in options))
    machine.start(NETWORK)
    machine.address("eth1", "192.0.2.1")
    assert "default via 192.0.2.1 dev eth1" in wait_for(machine.routes, "a route")
    wait_for(lambda: "nameserver 192.0.2.53" in machine.read("/etc/resolv.conf"), "DNS")
    wait_for(lambda: machine.read("/run/agent-router.ntp") == "192.0.2.7\n192.0.2.8\n", "NTP servers")
    wait_for(lambda: machine.run("hostname").strip() == "node-17", "a host name")
    wait_for(lambda: "mtu 9000" in machine.run("ip", "link", "show", "eth1"), "the MTU")
    wait_for(lambda: machine.read("/run/console-lines"), "a line on the consoles")
    # expiry, MAC, address, name, client id: hardware type Ethernet and the MAC
    assert switch.read("/run/s1.leases").split()[4] == f"01:{MAC.format(1)}"


def test_a_host_name_that_is_there_stays(switch, machine):
    serve_dhcp(switch, "s1", V4, f"--dhcp-host={MAC.format(1)},node-17", "--dhcp-option=option:ntp-server,192.0.2.7")
    machine.run("hostname", "mine")
    machine.start(NETWORK)
    wait_for(lambda: machine.read("/run/agent-router.ntp"), "the end of the hooks")
    assert machine.run("hostname") == "mine\n"


def test_address_by_dhcpv6_for_the_interface_booted_from(boxes, switch):
    machine = boxes("quiet BOOTIF=01-52-54-00-00-00-02")
    join(switch, machine, 1, plugged=False)
    join(switch, machine, 2)
    serve_dhcp(switch, "s2", "--enable-ra", "--dhcp-range=fd00:2::100,fd00:2::1ff,64,1h",
               "--dhcp-option=option6:sntp-server,[fd00:2::7]", "--dhcp-option=option6:ntp-server,[fd00:2::8]",
               "--dhcp-option=option6:dns-server,[fd00:2::53]")  # fmt: skip
    machine.start(NETWORK)
    machine.address("eth2", "fd00:2::1")
    wait_for(lambda: "default via fe80::" in machine.routes("-6"), "a route")
    wait_for(lambda: "nameserver fd00:2::53" in machine.read("/etc/resolv.conf"), "DNS")
    wait_for(lambda: machine.read("/run/agent-router.ntp").split() == ["fd00:2::7", "fd00:2::8"], "NTP servers")
    # DUID-LL over Ethernet (RFC 8415, section 11.4) of that interface, though it is not the first
    assert f"00:03:00:01:{MAC.format(2)}" in switch.log.read_text()


def test_address_by_router_advertisement_is_made_of_the_mac(switch, machine):
    serve_dhcp(switch, "s1", "--enable-ra", "--dhcp-range=fd00:1::,ra-only")
    machine.start(NETWORK)
    assert machine.address("eth1", "fd00:1:") == "fd00:1::5054:ff:fe00:1/64"


def test_a_carrier_and_an_interface_that_come_later(boxes, switch):
    machine = boxes()
    machine.start(NETWORK)
    wait_for(lambda: "dhcpcd" in machine.log.read_text(), "dhcpcd")
    join(switch, machine, 1, plugged=False)
    serve_dhcp(switch, "s1", V4)
    wait_for(lambda: "eth1: waiting for carrier" in machine.log.read_text(), "the interface")
    switch.run("ip", "link", "set", "s1", "up")
    machine.address("eth1", "192.0.2.1")
    join(switch, machine, 2)
    serve_dhcp(switch, "s2", V4_B)
    machine.address("eth2", "198.51.100.1")
    assert machine.address("eth1", "192.0.2.1")


@pytest.mark.slow
def test_a_dhcp_server_that_comes_later(switch, machine):
    machine.start(NETWORK)
    wait_for(lambda: "soliciting a DHCP lease" in machine.log.read_text(), "a question")
    # Without noipv4ll dhcpcd would make up an address after nine seconds.
    machine.run("sleep", "11")
    assert "169.254." not in machine.run("ip", "address")
    serve_dhcp(switch, "s1", V4)
    machine.address("eth1", "192.0.2.1")


def test_a_restart_takes_nothing_away(switch, machine):
    serve_dhcp(switch, "s1", V4)
    machine.start(NETWORK)
    address = machine.address("eth1", "192.0.2.1")
    found = (machine.root / "run/agent-router.dhcpcd.conf").stat()
    for end in (signal.SIGTERM, signal.SIGKILL):
        machine.run("pkill", f"-{int(end)}", "dhcpcd")
        wait_for(lambda: not machine.runs("dhcpcd"), "its end")
        assert machine.addresses("eth1") == [address]
        machine.log.write_text("")
        machine.start(NETWORK)
        wait_for(lambda: "leased" in machine.log.read_text(), "the lease again")
        assert machine.addresses("eth1") == [address]
    assert (machine.root / "run/agent-router.dhcpcd.conf").stat().st_mtime_ns == found.st_mtime_ns


# Static network data


CARD = {"id": "l1", "type": "phy", "ethernet_mac_address": MAC.format(1)}
STATIC = {
    "id": "n1", "type": "ipv4", "link": "l1", "ip_address": "192.0.2.10", "netmask": "255.255.255.0",
    "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}],
}  # fmt: skip
TAGGED = {**STATIC, "id": "n2", "link": "v", "ip_address": "203.0.113.10", "routes": []}
DNS = {"type": "dns", "address": "192.0.2.53"}


def give(machine, links, networks):
    """Network data, as if taken from a config drive."""
    data = machine.root / "run/agent-router.network_data.json"
    data.write_text(json.dumps({"links": links, "networks": networks, "services": [DNS]}))


def test_static_on_one_card_and_dhcp_on_the_other(boxes, switch):
    machine = boxes()
    for number in (1, 2):
        join(switch, machine, number)
    serve_dhcp(switch, "s1", V4, *V6)
    serve_dhcp(switch, "s2", V4_B, "--dhcp-option=option:dns-server,198.51.100.53")
    v6 = {"id": "n2", "type": "ipv6", "link": "l1", "ip_address": "fd00:1::10/64", "gateway": "fd00:1::1"}
    give(machine, [{**CARD, "mtu": 1400}], [STATIC, v6])
    machine.start(NETWORK)
    machine.address("eth2", "198.51.100.1")
    machine.address("eth1", "fd00:1::10/64")
    switch.run("sleep", "2")  # for what must not come: an address by DHCP or router advertisement on eth1
    assert machine.addresses("eth1") == ["192.0.2.10/24", "fd00:1::10/64"]
    assert "default via 192.0.2.1 dev eth1 metric 100" in machine.routes()
    assert "default via fd00:1::1 dev eth1 metric 101" in machine.routes("-6")
    assert "ra" not in machine.routes("-6").split()
    assert "mtu 1400" in machine.run("ip", "link", "show", "eth1")
    wait_for(lambda: "198.51.100.53" in machine.read("/etc/resolv.conf"), "DNS of DHCP")
    servers = [line for line in machine.read("/etc/resolv.conf").splitlines() if line.startswith("nameserver")]
    assert servers == ["nameserver 192.0.2.53", "nameserver 198.51.100.53"]
    assert machine.reaches("192.0.2.1")
    wait_for(lambda: machine.read("/run/console-lines"), "a line on the consoles")


def test_static_without_a_carrier_waits_for_it(boxes, switch):
    machine = boxes()
    join(switch, machine, plugged=False)
    v6 = {"id": "n2", "type": "ipv6", "link": "l1", "ip_address": "fd00:1::10/64", "gateway": "fd00:1::1"}
    give(machine, [CARD], [{**STATIC, "netmask": "255.255.255.255"}, v6])
    machine.start(NETWORK)
    wait_for(lambda: "dhcpcd" in machine.log.read_text(), "dhcpcd")
    assert "network data: " not in machine.log.read_text()
    switch.run("ip", "link", "set", "s1", "up")
    machine.address("eth1", "fd00:1::10")
    assert machine.reaches("192.0.2.1")
    assert machine.reaches("fd00:1::1")


@pytest.mark.parametrize("type_", ["ipv6_slaac", "ipv6_dhcpv6-stateful"])
def test_static_ipv4_beside_dynamic_ipv6(switch, machine, type_):
    serve_dhcp(switch, "s1", V4, *V6)
    give(machine, [CARD], [STATIC, {"id": "n2", "type": type_, "link": "l1"}])
    machine.start(NETWORK)
    machine.address("eth1", "fd00:1::1")
    assert [address for address in machine.addresses("eth1") if "." in address] == ["192.0.2.10/24"]


def test_dhcpv6_without_a_router_that_says_so(switch, machine):
    serve_dhcp(switch, "s1", V6[1])
    give(machine, [CARD], [{"id": "n2", "type": "ipv6_dhcp", "link": "l1"}])
    machine.start(NETWORK)
    machine.address("eth1", "fd00:1::1")


@pytest.mark.parametrize("text, sentence", [
    ("{", "cannot be read as JSON"),
    (json.dumps({"links": [CARD], "networks": [{**STATIC, "type": "x"}]}), "Network n1: unknown type 'x'"),
    (None, "cannot be read as JSON"),
])  # fmt: skip
def test_a_document_that_cannot_be_used_leads_to_dhcp(switch, machine, text, sentence):
    serve_dhcp(switch, "s1", V4)
    data = machine.root / "run/agent-router.network_data.json"
    data.write_text(text) if text else data.mkdir()
    machine.start(NETWORK)
    machine.address("eth1", "192.0.2.1")
    log = machine.log.read_text()
    assert sentence in log
    assert "network: static network data could not be applied (see above): DHCP on all interfaces instead" in log


def kernel_makes(machine, kind, *options):
    """Skip if the kernel of this machine cannot."""
    argv = machine._argv(("ip", "link", "add", "link", "eth1", "name", "probe", "type", kind, *options))
    if subprocess.run(argv, capture_output=True).returncode:
        pytest.skip(f"the kernel of this machine has no {kind} interfaces")
    machine.run("ip", "link", "delete", "probe")


def test_a_vlan_on_a_card(switch, machine):
    kernel_makes(machine, "vlan", "id", "9")
    switch.run("ip", "link", "add", "link", "s1", "name", "s1.7", "type", "vlan", "id", "7")
    switch.run("ip", "address", "add", "203.0.113.1/24", "dev", "s1.7")
    switch.run("ip", "link", "set", "s1.7", "up")
    vlan = {"id": "v", "type": "vlan", "vlan_link": "l1", "vlan_id": 7, "vlan_mac_address": MAC.format(9)}
    give(machine, [vlan, CARD], [STATIC, TAGGED])
    machine.start(NETWORK)
    assert machine.address("eth1.7", "203.0.113.10")
    assert machine.reaches("203.0.113.1")
    assert MAC.format(9) in machine.run("ip", "link", "show", "eth1.7")


def test_dhcp_over_a_bond_and_static_on_a_vlan_of_it(boxes, switch):
    machine = boxes()
    for number in (1, 2):
        cable(switch, f"s{number}", machine, f"eth{number}", MAC.format(number))
    for kind, options in (("bond", []), ("vlan", ["id", "9"]), ("bridge", [])):
        kernel_makes(machine, kind, *options)
    switch.run(
        "sh",
        "-ec",
        """
        ip link add name s0 type bridge && ip link set s0 up && ip address add 192.0.2.1/24 dev s0
        ip link set s1 master s0 && ip link set s2 master s0
        ip link add link s0 name s0.7 type vlan id 7 && ip link set s0.7 up && ip address add 203.0.113.1/24 dev s0.7
    """,
    )
    serve_dhcp(switch, "s0", V4)
    bond = {
        "id": "bond0", "type": "bond", "ethernet_mac_address": MAC.format(1), "bond_links": ["l1", "l2"],
        "bond_mode": "active-backup", "bond_miimon": 50, "bond_primary": "l2", "bond_fail_over_mac": "none",
    }  # fmt: skip
    vlan = {"id": "v", "type": "vlan", "vlan_link": "bond0", "vlan_id": 7, "vlan_mac_address": MAC.format(1)}
    untagged = {"id": "n1", "type": "ipv4_dhcp", "link": "bond0"}
    give(machine, [bond, vlan, CARD, {**CARD, "id": "l2", "ethernet_mac_address": MAC.format(2)}], [untagged, TAGGED])
    machine.start(NETWORK)
    machine.address("bond0", "192.0.2.1")
    machine.address("bond0.7", "203.0.113.10")
    assert machine.reaches("203.0.113.1")
    assert machine.addresses("eth1") == machine.addresses("eth2") == []
    detail = json.loads(machine.run("ip", "-json", "-details", "link", "show", "bond0"))[0]
    options = detail["linkinfo"]["info_data"]
    assert (options["mode"], options["miimon"], options["primary"]) == ("active-backup", 50, "eth2")
    switch.run("ip", "link", "set", "s2", "down")
    wait_for(lambda: machine.reaches("203.0.113.1"), "the other card")


def test_options_of_a_bond_reach_the_kernel(machine):
    kernel_makes(machine, "bond")
    bond = {
        "id": "tap1", "type": "bond", "bond_links": ["l1"], "bond_mode": "802.1ad", "bond_lacp_rate": "1",
        "bond_xmit_hash_policy": "layer3+4", "bond_updelay": 200, "bond_downdelay": "200", "bond_use_carrier": True,
        "bond_ad_select": "bandwidth", "bond_min_links": 1, "mtu": 1400,
    }  # fmt: skip
    give(machine, [bond, CARD], [{**STATIC, "link": "tap1"}])
    machine.start(NETWORK)
    wait_for(lambda: machine.addresses("bond0"), "an address")
    assert "network data: " not in machine.log.read_text()
    detail = json.loads(machine.run("ip", "-json", "-details", "link", "show", "bond0"))[0]
    set_ = detail["linkinfo"]["info_data"]
    assert detail["mtu"] == 1400
    assert (set_["mode"], set_["ad_lacp_rate"], set_["xmit_hash_policy"]) == ("802.3ad", "fast", "layer3+4")
    assert (set_["ad_select"], set_["miimon"], set_["updelay"], set_["min_links"]) == ("bandwidth", 100, 200, 1)
