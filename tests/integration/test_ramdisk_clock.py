"""Setting the clock of the ramdisk: the real script in a box, with a fake chronyd."""

import tempfile
from pathlib import Path

import pytest

from tests.support.ramdisk_network import Box, why_not

REASON = why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.fixture
def boxes(memory_dir):
    """Boxes with a global address, in which no program can touch the clock of this machine."""
    made = []

    def make(cmdline="quiet", address=True):
        box = Box(Path(tempfile.mkdtemp(dir=memory_dir)), cmdline)
        made.append(box)
        box.fake("chronyd", 'for word; do echo "$word"; done >>/run/chronyd')
        box.fake("hwclock", 'echo "$@" >>/run/hwclock')
        box.fake("sleep", "echo 2 >>/run/slept")
        if address:
            box.run("ip", "link", "add", "eth1", "up", "type", "veth", "peer", "name", "peer")
            box.run("ip", "address", "add", "192.0.2.9/24", "dev", "eth1")
        return box

    yield make
    for box in made:
        box.close()


def clock(box):
    """(what it says, what chronyd is told)"""
    said = box.run("/usr/lib/agent-router/clock")
    assert said.startswith("clock: ")
    assert said.count("\n") == 1
    return said, box.read("/run/chronyd").splitlines()


@pytest.mark.parametrize("cmdline, servers", [
    ("quiet ipa-ntp-server=ntp.example.org", ["ntp.example.org"]),
    ("agent.ntp=192.0.2.1,fd00::1 quiet", ["192.0.2.1", "fd00::1"]),
    ("agent.ntp=192.0.2.1 ipa-ntp-server=192.0.2.2", ["192.0.2.2"]),
])  # fmt: skip
def test_server_of_the_kernel_command_line(boxes, cmdline, servers):
    box = boxes(cmdline)
    (box.root / "run/agent-router.ntp").write_text("203.0.113.1\n")
    said, told = clock(box)
    assert told == ["-q", "-t", "30", *(f"server {server} iburst" for server in servers)]
    assert f"system clock and hardware clock set by NTP from {', '.join(servers)}: 20" in said
    assert box.read("/run/hwclock") == "--systohc --utc\n"


def test_servers_of_dhcp(boxes):
    box = boxes()
    (box.root / "run/agent-router.ntp").write_text("192.0.2.7\nfd00::8\n")
    assert clock(box)[1][3:] == ["server 192.0.2.7 iburst", "server fd00::8 iburst"]


def test_a_machine_without_hardware_clock(boxes):
    box = boxes("ipa-ntp-server=192.0.2.1")
    box.fake("hwclock", "exit 1")
    assert "clock: system clock set by NTP from 192.0.2.1" in clock(box)[0]


def test_what_is_no_server_never_reaches_chronyd(boxes):
    said, told = clock(boxes('ipa-ntp-server=a;b,$(reboot),user%20root,"x'))
    assert told == []
    assert "not set: neither a name nor an address of an NTP server" in said


def test_no_server_ends_after_two_minutes(boxes):
    box = boxes()
    said, told = clock(box)
    assert "not set: neither the kernel command line (ipa-ntp-server=) nor DHCP names an NTP server" in said
    assert told == []
    assert len(box.read("/run/slept").split()) == 60


def test_no_network_is_waited_for_and_then_tried(boxes):
    box = boxes("ipa-ntp-server=192.0.2.1", address=False)
    clock(box)
    assert len(box.read("/run/slept").split()) == 60


def test_a_server_that_does_not_answer(boxes):
    box = boxes("ipa-ntp-server=192.0.2.1")
    lines = ["chronyd version 4.3 starting", "Timeout reached", "chronyd exiting"]
    box.fake("chronyd", "".join(f"echo '2026-01-01T00:00:00Z {line}' >&2; " for line in lines) + "exit 1")
    said, _ = clock(box)
    assert said == "clock: not set: no good answer from 192.0.2.1 (Timeout reached)\n"
    assert box.read("/run/hwclock") == ""


def test_no_chronyd(boxes):
    box = boxes("ipa-ntp-server=192.0.2.1")
    box.fake("chronyd", "exec /nowhere/chronyd")
    assert "not set: no good answer from 192.0.2.1" in clock(box)[0]
