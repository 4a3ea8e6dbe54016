"""The walls of the test machine itself: what runs in it erases disks and switches the power off."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ironic import HERE
from tests.support.machine import REPO, Disk

pytestmark = [pytest.mark.conductor, pytest.mark.root]

LOOK = """
for path in /sys/class/block/*; do device=/dev/${path##*/}; [[ ! -b $device ]] || echo "block $device"; done
lsblk --noheadings --nodeps --json --output NAME,TYPE | grep name
echo private >/etc/written-by-the-machine
echo o >/proc/sysrq-trigger
poweroff --force
sleep 10
echo "still on"
"""


@pytest.fixture
def disk(tmp_path, needs_a_machine):
    disk = Disk(tmp_path / "disk", 128)
    yield disk
    disk.close()


def test_only_its_own_disks_and_its_own_power_are_there(disk, tmp_path):
    (tmp_path / "ram").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", HERE / "power_on.sh", tmp_path,
         sys.executable, REPO, disk.device, "--", "/bin/bash", "-c", LOOK],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert {line for line in lines if line.startswith("block")} <= {f"block {disk.device}", f"block {disk.device}p1"}
    assert f"block {disk.device}" in lines
    named = [line for line in lines if '"name"' in line]
    assert len(named) == 1, named
    assert disk.device.removeprefix("/dev/") in named[0]
    assert "still on" not in lines
    assert (tmp_path / "switched").read_text() == "poweroff\n"
    assert not Path("/etc/written-by-the-machine").exists()


def test_it_starts_nowhere_else(tmp_path):
    done = subprocess.run([HERE / "power_on.sh", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "power_on.sh: not in a PID namespace of its own\n")
