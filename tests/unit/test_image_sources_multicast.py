import itertools

import pytest

from agent_router import plugin
from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources import Spec, make, multicast
from agent_router.image.sources.multicast import Address, default_interface, parse_url, receiver_argv, timeout_s

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def route(name: str, metric: int, destination: str = "00000000", mask: str = "00000000") -> str:
    return f"{name}\t{destination}\t0101A8C0\t0003\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"


@pytest.mark.parametrize(("url", "address"), [
    ("udpcast://?interface=lo", Address("lo", None, 9000, 30, None, 4 << 20)),
    ("udpcast:///?interface=lo", Address("lo", None, 9000, 30, None, 4 << 20)),
    ("udpcast://:9100?interface=lo&wait_s=90", Address("lo", None, 9100, 90, None, 4 << 20)),
    ("udpcast://239.1.2.3?interface=lo&ttl=4", Address("lo", "239.1.2.3", 9000, 30, 4, 4 << 20)),
    ("udpcast://239.1.2.3:9102?interface=lo&rcvbuf=65536", Address("lo", "239.1.2.3", 9102, 30, None, 65536)),
])  # fmt: skip
def test_every_part_has_a_meaning_or_a_default(url, address):
    assert parse_url(url, 30.9) == address


@pytest.mark.parametrize(("url", "why"), [
    ("udpcast://:9101?interface=lo", "even"), ("udpcast://:80?interface=lo", "from 1024"),
    ("udpcast://:99999?interface=lo", "out of range"), ("udpcast://images.example?interface=lo", "not an IPv4 address"),
    ("udpcast://[ff02::1]?interface=lo", "not an IPv4 address"), ("udpcast://me@239.1.2.3", "a user or"),
    ("udpcast://239.1.2.3/disk.raw", "a path is not"), ("udpcast://?mode=async", "no option mode"),
    ("udpcast://?interface=lo&wait_s=0", "wait_s is a number"), ("udpcast://?interface=lo&wait_s=1e3", "wait_s"),
    ("udpcast://?interface=lo&ttl=256", "ttl is a number"), ("udpcast://?interface", "bad query"),
    ("udpcast://?interface=lo&rcvbuf=-1", "rcvbuf is a number"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(url, why):
    with pytest.raises(plugin.InvalidRequest, match=why) as failed:
        parse_url(url, 30)
    assert failed.value.code == "bad_url"


@pytest.mark.parametrize("name", ["nope0", "--license", "", "../eth0"])
def test_an_interface_that_is_not_there(name):
    with pytest.raises(plugin.InvalidRequest) as failed:
        parse_url(f"udpcast://?interface={name}", 30)
    assert failed.value.code == "no_interface"


@pytest.mark.parametrize(("routes", "interfaces", "expected"), [
    (route("eth1", 200) + route("eth0", 100), ["lo", "eth0", "eth1"], "eth0"),
    (route("eth1", 0, "0001A8C0", "00FFFFFF"), ["lo", "eth0", "eth1"], None),
    # 0.0.0.0/1 is half of a default route, as some VPNs make them.
    (route("tun0", 0, mask="00000080") + route("eth0", 100), ["lo", "eth0", "tun0"], "eth0"),
    ("", ["lo", "eth0"], "eth0"), ("", ["lo"], None), ("", ["lo", "eth0", "eth1"], None),
])  # fmt: skip
def test_the_interface_of_the_default_route(routes, interfaces, expected):
    assert default_interface(HEAD + routes, interfaces) == expected


@pytest.mark.parametrize(("url", "server", "interface"), [
    ("udpcast://", "http://127.0.0.1:8000/x.meta4", "127.0.0.1"),
    ("udpcast://?interface=lo", "http://192.0.2.1/x.meta4", "lo"),
    ("udpcast://", "http://[::1]/x.meta4", "eth9"), ("udpcast://", "/srv/x.meta4", "eth9"), ("udpcast://", "", "eth9"),
])  # fmt: skip
def test_what_a_metalink_names_comes_on_the_interface_that_faces_its_server(monkeypatch, url, server, interface):
    monkeypatch.setattr(multicast, "default_interface", lambda routes, interfaces: "eth9")
    assert parse_url(url, 1, server).interface == interface


def test_the_arguments_of_udp_receiver():
    argv = receiver_argv(Address("eth0", "239.1.2.3", 9100, 90, 4, 65536), 0.2)
    assert argv[0] == "udp-receiver"
    assert {"--nokbd", "--no-progress"} <= set(argv)
    pairs = dict(itertools.pairwise(argv))
    assert [pairs[key] for key in ("--interface", "--portbase", "--rcvbuf", "--start-timeout", "--receive-timeout",
                                   "--mcast-rdv-address", "--ttl")] == [
        "eth0", "9100", "65536", "90", "1", "239.1.2.3", "4"]  # fmt: skip
    assert "--ttl" not in receiver_argv(Address("eth0", None, 9000, 1, None, 1), 1)


@pytest.mark.parametrize(("patience_s", "whole"), [(0.2, 1), (30, 30), (30.1, 31)])
def test_no_timeout_becomes_for_ever(patience_s, whole):
    assert timeout_s(patience_s) == whole


def test_it_cannot_be_read_from_anywhere():
    source = make(Spec("udpcast://?interface=lo", digest_known=True))
    with pytest.raises(InOrderOnly):
        source.read_at(0, 1)
    source.close()
    source.close()
