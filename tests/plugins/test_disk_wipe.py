import subprocess
from pathlib import Path

import pytest

from tests.support.loop import LoopDevice
from tests.support.plugin import BadRequest, PluginFailed, problems


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def add_partition(disk: str) -> str:
    # addpart tells the kernel of a partition directly: kernels without partition parsers do as well.
    run("addpart", disk, "1", "2048", "16384")
    return f"{disk}p1"


@pytest.mark.parametrize("request_", [
    {}, {"device": ""}, {"device": "sda"}, {"device": "/dev/"}, {"device": 7}, {"device": "/dev/sda; reboot"},
    {"device": "/dev/sda", "force": True}, {"device": '/dev/sd"a'},
])  # fmt: skip
def test_schema_refuses(request_):
    assert problems("disk.wipe", "request", request_)


@pytest.mark.parametrize("device", ["/dev/sda", "/dev/nvme0n1p3", "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"])
def test_schema_accepts(device):
    assert not problems("disk.wipe", "request", {"device": device})


def test_a_bad_request_does_not_start_the_plugin(call):
    with pytest.raises(BadRequest, match="device"):
        call("disk.wipe")


def test_refuses_what_is_no_block_device(call, tmp_path):
    with pytest.raises(PluginFailed, match="/dev/null is not a block device") as failed:
        call("disk.wipe", device="/dev/null")
    assert failed.value.exit_status == 64


def test_wipes_partitions_before_the_disk(call, fake_tool, loop_disk):
    disk = loop_disk()
    fake_tool("lsblk", f'NAME="{disk}" TYPE="loop" MOUNTPOINTS=""\nNAME="{disk}p1" TYPE="part" MOUNTPOINTS=""\n')
    wipefs = fake_tool("wipefs", "gpt\n")
    fake_tool("blockdev")
    assert call("disk.wipe", device=disk) == {"wiped": ["gpt"]}
    assert [argv for argv in wipefs.calls if "--no-act" not in argv] == [
        ["--all", "--force", "--quiet", f"{disk}p1"],
        ["--all", "--force", "--quiet", disk],
    ]


@pytest.mark.parametrize(("line", "reason"), [
    ('MOUNTPOINTS="/mnt\\x0a/srv"', "is mounted at /mnt /srv"),
    ('MOUNTPOINTS="[SWAP]"', "is mounted at"),
])  # fmt: skip
def test_leaves_a_disk_in_use_alone(call, fake_tool, loop_disk, line, reason):
    disk = loop_disk()
    fake_tool("lsblk", f'NAME="{disk}" TYPE="loop" MOUNTPOINTS=""\nNAME="{disk}p1" TYPE="part" {line}\n')
    wipefs = fake_tool("wipefs")
    with pytest.raises(PluginFailed, match=reason) as failed:
        call("disk.wipe", device=disk)
    assert (failed.value.code, failed.value.exit_status) == ("device_busy", 77)
    assert wipefs.calls == []


def test_leaves_a_member_of_an_array_alone(call, fake_tool, loop_disk):
    disk = loop_disk()
    fake_tool("lsblk", f'NAME="{disk}" TYPE="loop" MOUNTPOINTS=""\nNAME="/dev/md0" TYPE="raid1" MOUNTPOINTS=""\n')
    with pytest.raises(PluginFailed, match=r"/dev/md0 \(raid1\) is built on it"):
        call("disk.wipe", device=disk)


@pytest.mark.root
def test_wipes_a_real_disk_and_its_partition(call, loop_disk):
    disk = loop_disk()
    partition = add_partition(disk)
    run("mkfs.ext4", "-q", "-F", partition)
    run("mkswap", disk)
    assert call("disk.wipe", action="plan", device=disk) == {"wiped": ["ext4", "swap"]}
    assert "swap" in run("wipefs", "--no-act", disk), "plan must not write"
    assert call("disk.wipe", device=disk) == {"wiped": ["ext4", "swap"]}
    assert run("wipefs", "--no-act", disk) == run("wipefs", "--no-act", partition) == ""
    assert call.warnings == [f"The kernel still uses the old partition table of {disk}"]
    assert call("disk.wipe", device=disk) == {"wiped": []}


@pytest.mark.root
def test_refuses_a_disk_with_a_mounted_partition(call, loop_disk, tmp_path):
    disk = loop_disk()
    partition = add_partition(disk)
    run("mkfs.ext4", "-q", "-F", partition)
    mountpoint = tmp_path / "a mount"
    mountpoint.mkdir()
    run("mount", partition, str(mountpoint))
    try:
        with pytest.raises(PluginFailed, match="is mounted at") as failed:
            call("disk.wipe", device=disk)
    finally:
        run("umount", str(mountpoint))
    assert failed.value.exit_status == 77
    assert "ext4" in run("wipefs", "--no-act", partition)


@pytest.mark.root
def test_refuses_a_disk_under_a_loop_device(call, loop_disk):
    disk = loop_disk()
    run("mkswap", disk)
    upper = LoopDevice(Path(disk))
    try:
        with pytest.raises(PluginFailed, match=f"{upper.name} is built on {disk}"):
            call("disk.wipe", device=disk)
    finally:
        upper.close()
    assert "swap" in run("wipefs", "--no-act", disk)


@pytest.mark.root
def test_refuses_swap_in_use(call, loop_disk):
    disk = loop_disk()
    run("mkswap", disk)
    run("swapon", disk)
    try:
        with pytest.raises(PluginFailed) as failed:
            call("disk.wipe", device=disk)
    finally:
        run("swapoff", disk)
    assert failed.value.exit_status == 77
