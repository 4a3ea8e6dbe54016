"""Real frames on virtual cables: two network namespaces, one is the machine, one the switch."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.plugin import Caller, problems
from tests.support.waiting import wait_for

TLVS = [[1, "0452540000aaff"], [2, "0545746865726e65742f31"], [3, "0078"], [5, "737769746368"], [0, ""]]
GOOD = "02070452540000aaff" + "040b0545746865726e65742f31" + "06020078" + "0a06737769746368" + "0000" + "00" * 10
GOODBYE = GOOD.replace("06020078", "06020000")
# Far longer than the harness waits: a test that passes with it shows that the plugin did not wait.
FOR_EVER_S = 600
# As a switch does it, but twenty times a second.
SENDER = """
import socket, sys, time
ears = {name: socket.socket(socket.AF_PACKET, socket.SOCK_RAW) for name in sys.argv[1].split(",")}
for name, ear in ears.items():
    ear.bind((name, 0))
while True:
    for ear in ears.values():
        for payload in sys.argv[2:]:
            ear.send(bytes.fromhex("0180c200000e 52540000aaff 88cc" + payload))
    time.sleep(0.05)
"""


class Cables:
    """Ports eth0 … of the machine; port N ends at swN of the switch."""

    def __init__(self, name: str) -> None:
        self.machine, self.switch = name + "m", name + "s"
        self.senders: list[subprocess.Popen[bytes]] = []

    def ip(self, *words: str) -> str:
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout

    def plug(self, *ports: int) -> None:
        for n in ports:
            peer = ["peer", "name", f"sw{n}", "netns", self.switch]
            self.ip("-n", self.machine, "link", "add", f"eth{n}", "type", "veth", *peer)
            self.ip("-n", self.machine, "link", "set", f"eth{n}", "up")
            self.ip("-n", self.switch, "link", "set", f"sw{n}", "up")

    def unplug(self, port: int) -> None:
        self.ip("-n", self.switch, "link", "set", f"sw{port}", "down")

    def announce(self, *ports: int, payloads: tuple[str, ...] = (GOOD,)) -> None:
        names = ",".join(f"sw{n}" for n in ports)
        program = ["ip", "netns", "exec", self.switch, sys.executable, "-c", SENDER, names, *payloads]
        self.senders.append(subprocess.Popen(program))

    def promiscuity(self, port: int) -> int:
        return json.loads(self.ip("-n", self.machine, "-j", "-d", "link", "show", f"eth{port}"))[0]["promiscuity"]


@pytest.fixture
def cables(call: Caller, tmp_path: Path) -> Iterator[Cables]:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    made = Cables(f"lldp{os.getpid()}")
    try:
        for name in (made.machine, made.switch):
            made.ip("netns", "add", name)
        made.plug(0)
        made.ip("-n", made.machine, "link", "del", "eth0")
    except (OSError, subprocess.CalledProcessError) as error:
        _clean(made)
        pytest.skip(f"no network namespaces with virtual cables here: {getattr(error, 'stderr', error)}")
    # The interpreter is the one thing that the plugin takes from PATH: this one enters the namespace.
    directory = tmp_path / "in-machine"
    directory.mkdir()
    wrapper = directory / "python3"
    wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {made.machine} {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    call.path = f"{directory}:{call.path}"
    yield made
    _clean(made)


def _clean(cables: Cables) -> None:
    for sender in cables.senders:
        sender.kill()
        sender.wait()
    for name in (cables.machine, cables.switch):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.parametrize("request_", [{"listen_s": 0}, {"listen_s": 601}, {"listen_s": "30"}, {"interfaces": []}])
def test_schema_refuses(request_):
    assert problems("inspect.lldp", "request", request_)


@pytest.mark.parametrize("tlv", [[1], [1, "0"], ["1", "00"], [1, "00", 2], [128, ""]])
def test_schema_refuses_what_is_no_tlv(tlv):
    assert problems("inspect.lldp", "response", {"lldp_raw": {"eth0": [tlv]}})


def test_hears_all_ports_and_then_stops(call, cables):
    cables.plug(0, 1, 2)
    cables.announce(0, 1, 2)
    answer = call("inspect.lldp", listen_s=FOR_EVER_S)
    assert answer == {"lldp_raw": {"eth0": TLVS, "eth1": TLVS, "eth2": TLVS}}


def test_a_silent_port_is_empty_when_the_time_is_over(call, cables):
    cables.plug(0, 1)
    cables.announce(1)
    assert call("inspect.lldp", listen_s=1)["lldp_raw"] == {"eth0": [], "eth1": TLVS}
    assert "no LLDP received on eth0" in call.log


def test_a_port_without_link_is_not_waited_for(call, cables):
    cables.plug(0, 1)
    cables.unplug(0)
    cables.announce(1)
    assert call("inspect.lldp", listen_s=FOR_EVER_S)["lldp_raw"] == {"eth0": [], "eth1": TLVS}


def test_frames_that_are_no_announcement_are_passed_over(call, cables):
    cables.plug(0)
    cables.announce(0, payloads=(GOODBYE, "ff" * 60, "00", GOOD))
    assert call("inspect.lldp", listen_s=FOR_EVER_S)["lldp_raw"] == {"eth0": TLVS}


def test_a_machine_without_ethernet(call, cables):
    assert call("inspect.lldp", listen_s=FOR_EVER_S) == {"lldp_raw": {}}


def test_a_killed_listener_leaves_the_interface_as_it_was(call, cables):
    cables.plug(0)
    running = call.start("inspect.lldp", listen_s=FOR_EVER_S)
    wait_for(lambda: cables.promiscuity(0) == 1)
    running.process.kill()
    running.process.wait()
    wait_for(lambda: cables.promiscuity(0) == 0)
