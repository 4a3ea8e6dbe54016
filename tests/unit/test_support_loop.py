"""Loop devices of the tests: none is left, whatever becomes of the process that made it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.loop import LoopDevice, backing_of, skip_without_loop_devices
from tests.support.plugin import REPO
from tests.support.waiting import wait_for

pytestmark = pytest.mark.root
HOLDER = """
import signal, sys
from pathlib import Path
from tests.support.loop import LoopDevice
held = [LoopDevice(Path(name)) for name in sys.argv[1:]]
print(flush=True)
signal.pause()
"""


@pytest.fixture
def file(tmp_path):
    skip_without_loop_devices()
    path = tmp_path / "disk"
    path.write_bytes(bytes(4 << 20))
    return path


def over(*files):
    """Loop devices that the kernel has for these files."""
    devices = [shown.parts[3] for shown in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [device for device in devices if backing_of(device) in files]


def test_kill_9_leaves_no_loop_device(file, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(file.read_bytes())
    with subprocess.Popen([sys.executable, "-c", HOLDER, file, other], cwd=REPO, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"\n"
        assert len(over(file, other)) == 2
        holder.send_signal(signal.SIGKILL)
    wait_for(lambda: not over(file, other), "the kernel to give the devices up")


@pytest.mark.parametrize("partscan", [True, False])
def test_it_is_a_disk_like_any_other_until_it_is_closed(file, partscan):
    device = LoopDevice(file, 4096, partscan=partscan)
    try:
        subprocess.run(["sfdisk", "-q", device.path], input="label: gpt\n,\n", text=True, check=True)
        # Some kernels read no partition tables, and others have done so by now.
        subprocess.run(["partx", "--update", device.path], check=True)
        subprocess.run(["mkfs.ext4", "-q", f"{device.path}p1"], check=True)
        asked = ["blockdev", "--getss", "--getro", f"{device.path}p1"]
        assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split() == ["4096", "0"]
    finally:
        device.close()
    assert over(file) == list(Path("/sys/block").glob(f"{device.name}/{device.name}p*")) == []
    device.close()
