from pathlib import Path

import pytest

from tests.support.disks import MIB, only_disks
from tests.support.plugin import PluginFailed, problems

STEP = "deploy.erase_devices_express"


def test_schema():
    assert not problems(STEP, "request", {})
    assert problems(STEP, "request", {"driver_internal_info": {"agent_enable_nvme_secure_erase": 1}})


@pytest.mark.root
def test_disks_that_are_not_nvme_lose_their_metadata(call, fake_tool, loop_disk):
    disk = loop_disk(8)
    only_disks(call, fake_tool, disk)
    middle = Path(disk).read_bytes()[MIB:-MIB]
    assert call(STEP)["erased"][disk]["stages"] == ["metadata"]
    content = Path(disk).read_bytes()
    assert content[:MIB].count(0) == content[-MIB:].count(0) == MIB
    assert content[MIB:-MIB] == middle


@pytest.mark.root
def test_a_disk_outside_the_device_list_is_not_touched(call, fake_tool, loop_disk):
    disk = loop_disk(2)
    only_disks(call, fake_tool, disk)
    call.extra_env["AGENT_DEVICES"] = "!" + disk
    before = Path(disk).read_bytes()
    with pytest.raises(PluginFailed, match="protected by"):
        call(STEP)
    assert Path(disk).read_bytes() == before
