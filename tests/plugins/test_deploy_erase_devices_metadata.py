import subprocess
from pathlib import Path

import pytest

from tests.support.disks import MIB, only_disks, partitions
from tests.support.plugin import PluginFailed, problems

STEP = "deploy.erase_devices_metadata"


def test_schema():
    assert not problems(STEP, "request", {"driver_internal_info": {"x": 1}, "skip_block_devices": None})
    assert problems(STEP, "request", {"device": "/dev/sda"})


@pytest.mark.root
def test_nothing_is_found_on_the_disks_afterwards(call, fake_tool, loop_disk):
    gpt, ext4 = loop_disk(16), loop_disk(16)
    only_disks(call, fake_tool, gpt, ext4)
    partitions(gpt, "start=2048")
    subprocess.run(["mkfs.ext4", "-q", "-F", ext4], check=True)
    middle = Path(gpt).read_bytes()[MIB:-MIB]
    answer = call(STEP, driver_internal_info={"disk_erasure_concurrency": 2})
    assert {disk: done["stages"] for disk, done in answer["erased"].items()} == {gpt: ["metadata"], ext4: ["metadata"]}
    for disk in (gpt, ext4):
        found = subprocess.run(["wipefs", "--no-act", "--noheadings", disk], capture_output=True, check=True)
        assert found.stdout == b""
        content = Path(disk).read_bytes()
        assert content[:MIB].count(0) == content[-MIB:].count(0) == MIB
    assert Path(gpt).read_bytes()[MIB:-MIB] == middle, "the data stay where they are"


@pytest.mark.root
def test_a_damaged_backup_gpt_is_erased_too(call, fake_tool, loop_disk):
    disk = loop_disk(16)
    only_disks(call, fake_tool, disk)
    partitions(disk, "start=2048")
    with open(disk, "r+b") as file:
        file.write(bytes(1024))  # only the backup is left
    call(STEP)
    assert b"EFI PART" not in Path(disk).read_bytes()


@pytest.mark.root
def test_write_protected_disks_are_left_out(call, fake_tool, loop_disk):
    disk = loop_disk(2)
    only_disks(call, fake_tool, disk, **{Path(disk).name: {"ro": True}})
    assert call(STEP) == {"erased": {}, "skipped": {disk: "it is write-protected"}}


@pytest.mark.root
def test_a_disk_outside_the_device_list_is_not_touched(call, fake_tool, loop_disk):
    disk = loop_disk(2)
    only_disks(call, fake_tool, disk)
    call.extra_env["AGENT_DEVICES"] = ""
    before = Path(disk).read_bytes()
    with pytest.raises(PluginFailed, match="allow-list") as failed:
        call(STEP)
    assert failed.value.code == "not_erasable"
    assert Path(disk).read_bytes() == before


@pytest.mark.root
def test_a_disk_that_fails_does_not_spare_the_others(call, fake_tool, loop_disk):
    broken, good = loop_disk(2), loop_disk(2)
    only_disks(call, fake_tool, broken, good)
    subprocess.run(["blockdev", "--setro", broken], check=True)
    try:
        with pytest.raises(PluginFailed, match=f"{broken}: ") as failed:
            call(STEP)
    finally:
        subprocess.run(["blockdev", "--setrw", broken], check=True)
    assert failed.value.code == "erase_failed"
    assert list(failed.value.partial["erased"]) == [good]
