"""From which devices the ramdisk takes static network data: the real script in a box, and a fake dhcpcd."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.ramdisk_network import Box, why_not
from tests.support.waiting import wait_for

REASON = why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON)]

NETWORK = "/usr/lib/agent-router/network"
DATA = "/run/agent-router.network_data.json"
MIB = 1 << 20


@pytest.fixture
def boxes(memory_dir):
    made = []

    def make(cmdline="quiet"):
        box = Box(Path(tempfile.mkdtemp(dir=memory_dir)), cmdline)
        made.append(box)
        box.fake("dhcpcd", "touch /run/done")
        box.fake("mount", 'echo "$@" >>/run/mounts; exit 1')
        box.fake("sleep", "")
        return box

    yield make
    for box in made:
        box.close()


def device(path="/dev/sr0", type_="rom", tran="sata", label="config-2", size=MIB):
    return f'PATH="{path}" TYPE="{type_}" TRAN="{tran}" SIZE="{size}" LABEL="{label}"'


def mounted(box, *devices):
    """The devices that the script tried to mount."""
    box.fake("lsblk", "cat <<'END'\n" + "\n".join(devices) + "\nEND")
    box.start(NETWORK)
    wait_for(lambda: (box.root / "run/done").exists(), "the end of the search")
    return [line.split()[2] for line in box.read("/run/mounts").splitlines()]


@pytest.mark.parametrize("found", [
    {}, {"label": "CONFIG-2"}, {"label": "VMEDIA_BOOT_ISO"}, {"label": "vmedia_boot_iso", "tran": ""},
    {"size": 8 << 30}, {"path": "/dev/sda", "type_": "disk", "tran": "usb"},
    {"type_": "disk", "tran": "usb", "size": (4 << 30) - 1},
])  # fmt: skip
def test_virtual_media_are_looked_into(boxes, found):
    assert mounted(boxes(), device("/dev/vda", "disk", ""), device(**found)) == [found.get("path", "/dev/sr0")]


@pytest.mark.parametrize("found", [
    {"label": ""}, {"label": "config-20"}, {"label": "my config-2"}, {"type_": "disk", "tran": "usb", "size": 4 << 30},
    {"type_": "disk", "tran": "sata"}, {"type_": "disk", "tran": ""}, {"type_": "part", "tran": "usb"},
    {"type_": "loop"},
])  # fmt: skip
def test_other_devices_are_left_alone(boxes, found):
    assert mounted(boxes(), device(**found)) == []


def test_the_config_drive_comes_before_the_boot_medium(boxes):
    devices = [device("/dev/sr0", label="vmedia_boot_iso"), device("/dev/sr1", label="config-2")]
    box = boxes()
    assert mounted(box, *devices) == ["/dev/sr1", "/dev/sr0"]
    assert "network: cannot mount /dev/sr1, so static network data on it, if any, is not used" in box.log.read_text()


@pytest.mark.parametrize("cmdline, looks", [("quiet", 1), ("quiet boot_method=vmedia", 21)])
def test_waits_for_virtual_media_only_if_booted_from_them(boxes, cmdline, looks):
    box = boxes(cmdline)
    box.fake("lsblk", "echo look >>/run/looks")
    box.start(NETWORK)
    wait_for(lambda: (box.root / "run/done").exists(), "the end of the search")
    assert len(box.read("/run/looks").split()) == looks


def test_takes_what_comes_while_it_waits(boxes):
    box = boxes("boot_method=vmedia")
    box.fake("lsblk", f"echo look >>/run/looks; [ $(wc -l </run/looks) -lt 4 ] || echo '{device()}'")
    box.start(NETWORK)
    wait_for(lambda: (box.root / "run/done").exists(), "the end of the search")
    assert "/dev/sr0" in box.read("/run/mounts")
    assert len(box.read("/run/looks").split()) == 4


@pytest.mark.parametrize("bootif, line", [
    ("01-52-54-00-AA-00-02", "duid 00:03:00:01:52:54:00:aa:00:02"),
    ("52:54:00:aa:00:02", "duid 00:03:00:01:52:54:00:aa:00:02"),
    ("eth0", None), ("52:54:00:aa:00", None), ("52:54:00:aa:00:02;x", None), ("", None),
])  # fmt: skip
def test_duid_of_the_interface_booted_from(boxes, bootif, line):
    box = boxes(f"quiet BOOTIF={bootif} nofb")
    assert mounted(box) == []
    duids = [line for line in box.read("/run/agent-router.dhcpcd.conf").splitlines() if line.startswith("duid")]
    assert duids == ([line] if line else []) + ["duid ll"]


@pytest.fixture
def drive(tmp_path):
    """A loop device with a file system labelled config-2 and network data on it."""
    latest = tmp_path / "tree/openstack/latest"
    latest.mkdir(parents=True)
    network = {"id": "n", "type": "ipv4", "link": "l", "ip_address": "192.0.2.10/24"}
    link = {"id": "l", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}
    (latest / "network_data.json").write_text(json.dumps({"links": [link], "networks": [network]}))
    image = tmp_path / "drive.img"
    make = ["mkfs.ext4", "-q", "-L", "config-2", "-d", str(tmp_path / "tree"), str(image), "8M"]
    subprocess.run(make, check=True, capture_output=True)
    attach = ["losetup", "--find", "--show", "--read-only", str(image)]
    path = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    yield path
    subprocess.run(["losetup", "--detach", path], check=True)


def test_network_data_of_a_real_drive_are_applied(boxes, drive):
    box = boxes()
    (box.bin / "mount").unlink()
    # The real lsblk, which calls the device a loop; a CD-ROM drive is nothing a test can make.
    box.fake("lsblk", f"""/usr/bin/lsblk "$@" {drive} | sed 's/TYPE="loop"/TYPE="rom"/'""")
    box.run("ip", "link", "add", "eth1", "address", "52:54:00:00:00:01", "type", "veth", "peer", "name", "peer")
    box.start(NETWORK)
    wait_for(lambda: (box.root / "run/done").exists(), "the end of the search")
    assert f"network: static network data found on {drive}" in box.log.read_text()
    assert "192.0.2.10/24" in box.addresses("eth1")
    assert "denyinterfaces eth1" in box.read("/run/agent-router.dhcpcd.conf")
    assert drive not in box.run("cat", "/proc/mounts")
    assert list(box.root.glob("run/agent-router.media*")) == []


def test_a_loop_device_is_no_virtual_medium(boxes, drive):
    box = boxes()
    box.fake("lsblk", f'/usr/bin/lsblk "$@" {drive} | tee /run/lsblk')
    box.fake("blkid", "echo config-2")
    box.start(NETWORK)
    wait_for(lambda: (box.root / "run/done").exists(), "the end of the search")
    assert f'PATH="{drive}" TYPE="loop" TRAN=""' in box.read("/run/lsblk")
    assert box.read("/run/mounts") == ""
