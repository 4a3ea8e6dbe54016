import json
import subprocess
from pathlib import Path

import pytest

from tests.support.loop import LoopDevice
from tests.support.plugin import REPO, PluginFailed, problems

MIB = 1 << 20


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("request_", [{"types": []}, {"types": ["part"]}, {"types": "disk"}, {"all": True}])
def test_schema_refuses(request_):
    assert problems("disk.list", "request", request_)


@pytest.mark.parametrize("request_", [{}, {"types": ["disk", "loop", "rom", "raid", "mpath"]}])
def test_schema_accepts(request_):
    assert not problems("disk.list", "request", request_)


def test_asks_lsblk_once_for_all_it_needs(call, fake_tool):
    lsblk = fake_tool("lsblk", '{"blockdevices": []}')
    assert call("disk.list") == {"disks": []}
    assert lsblk.calls[0][:5] == ["--json", "--bytes", "--all", "--output", lsblk.calls[0][4]]
    assert len(lsblk.calls) == 1


def test_a_captured_machine(call, fake_tool):
    fake_tool("lsblk", (REPO / "tests/data/lsblk/virtio_vm.out").read_text().replace('"kname"', '"kname"'))
    fake_tool("blkid", status=2)
    disks = call("disk.list")["disks"]
    assert [disk["name"] for disk in disks] == ["/dev/vda"], "zram is memory and has no size, loop was not asked for"
    assert disks[0]["mountpoints"] == ["/"]
    assert disks[0]["physical_sector_bytes"] == 4096


def test_a_broken_lsblk_is_named(call, fake_tool):
    fake_tool("lsblk", stderr="lsblk: unknown column: START\n", status=1)
    with pytest.raises(PluginFailed, match="lsblk exited with status 1: lsblk: unknown column: START"):
        call("disk.list")


def test_blkid_that_fails_is_a_warning(call, fake_tool):
    node = {"kname": "no-such-disk", "type": "disk", "size": 1000, "children": []}
    fake_tool("lsblk", json.dumps({"blockdevices": [node]}))
    fake_tool("blkid", stderr="blkid: error: no-such-disk: Input/output error", status=1)
    disk = call("disk.list")["disks"][0]
    assert disk["fs_type"] is None
    if not Path("/run/udev/data").is_dir():
        assert "Input/output error" in call.warnings[0]


@pytest.mark.root
def test_a_real_disk_with_a_partition_and_a_holder(call, loop_disk, tmp_path):
    disk = loop_disk(16, garbage=False)
    run("addpart", disk, "1", "2048", "16384")
    run("mkfs.ext4", "-q", "-F", "-L", "hello world", f"{disk}p1")
    above = LoopDevice(Path(disk), read_only=True)
    upper = above.path
    mountpoint = tmp_path / "a mount"
    mountpoint.mkdir()
    run("mount", f"{disk}p1", str(mountpoint))
    try:
        disks = {found["name"]: found for found in call("disk.list", types=["loop"])["disks"]}
    finally:
        run("umount", str(mountpoint))
        above.close()
    assert disks[disk]["size_bytes"] == 16 * MIB
    assert disks[disk]["holders"] == [upper]
    assert disks[upper]["read_only"] is True
    [partition] = disks[disk]["partitions"]
    assert partition["name"] == f"{disk}p1"
    assert (partition["start_bytes"], partition["size_bytes"]) == (MIB, 8 * MIB)
    assert (partition["fs_type"], partition["fs_label"]) == ("ext4", "hello world")
    assert partition["mountpoints"] == [str(mountpoint)]


@pytest.mark.root
def test_loop_devices_are_listed_only_when_asked_for(call, loop_disk):
    disk = loop_disk()
    assert disk not in [found["name"] for found in call("disk.list")["disks"]]
    assert disk in [found["name"] for found in call("disk.list", types=["disk", "loop"])["disks"]]
