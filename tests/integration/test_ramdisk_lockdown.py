"""A machine that was locked down stays off its networks, with the real script and the real DHCP client."""

import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.ramdisk_network import STATIC, Box, cable, serve_dhcp, why_not
from tests.support.waiting import wait_for

REASON = why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON)]

NETWORK = "/usr/lib/agent-router/network"
TAKE_DOWN = """
import subprocess, sys
from pathlib import Path
from agent_router.ramdisk.network import take_down
take_down.take_down(Path(sys.argv[1]), lambda argv: subprocess.run(argv, check=True))
"""


@pytest.fixture
def boxes(memory_dir):
    """A switch with a DHCP server, and a machine at it."""
    made = [Box(Path(tempfile.mkdtemp(dir=memory_dir))) for _ in range(2)]
    switch, machine = made
    cable(switch, "s1", machine, "eth1", "52:54:00:00:00:01", True)
    switch.run("ip", "address", "add", "192.0.2.1/24", "dev", "s1")
    serve_dhcp(switch, "s1", "--dhcp-range=192.0.2.100,192.0.2.150,1h")
    yield made
    for box in made:
        box.close()


@pytest.fixture
def machine(boxes):
    return boxes[1]


def is_up(machine: Box) -> bool:
    return "UP" in machine.run("ip", "-brief", "link", "show", "eth1").split("<")[1]


def close(machine: Box, what: str) -> None:
    machine.run("mkdir", "-p", "/run/agent-router")
    (machine.root / "run/agent-router/closed").write_text(f"{what} a.method\n")


def test_no_interface_comes_up_again(machine, tmp_path):
    ramdisk = tmp_path / "root"
    (ramdisk / "usr/share/agent-router").mkdir(parents=True)
    (ramdisk / "usr/share/agent-router/version").touch()
    (ramdisk / "sys").symlink_to("/sys")
    script = machine.start(NETWORK)
    machine.address("eth1", "192.0.2.1")
    close(machine, "network")
    machine.run(sys.executable, "-c", TAKE_DOWN, str(ramdisk))
    assert not is_up(machine)
    time.sleep(5)  # nothing happens
    assert not is_up(machine), "the DHCP client leaves it down"
    assert machine.addresses("eth1") == []
    script.send_signal(signal.SIGKILL)
    machine.run("pkill", "dhcpcd")
    wait_for(lambda: not machine.runs("dhcpcd"), "the DHCP client ends")
    machine.start(NETWORK)
    time.sleep(3)  # nothing happens
    assert not is_up(machine), "nor does the script, started again"
    assert not machine.runs("dhcpcd")


def test_a_closed_agent_keeps_the_network_for_a_rescued_machine(machine):
    close(machine, "agent")
    machine.start(NETWORK)
    assert machine.address("eth1", "192.0.2.1")


def test_the_console_line_says_that_the_agent_has_ended(machine, tmp_path):
    close(machine, "network")
    machine.run("sh", str(STATIC / "usr/lib/agent-router/console-line"))
    said = machine.read("/run/agent-router.console-line")
    assert said.endswith(": a.method has ended the agent until the next boot\n")
