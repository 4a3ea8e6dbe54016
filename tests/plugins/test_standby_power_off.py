import pytest

from tests.support.fake_ramdisk import call_in_ramdisk
from tests.support.plugin import PluginFailed, problems

COMMAND = "standby.power_off"


def test_schema():
    assert not problems(COMMAND, "request", {})
    assert problems(COMMAND, "request", {"now": True})


def test_this_machine_is_left_alone(call, fake_tool):
    tools = [fake_tool(name) for name in ("systemctl", "busybox", "sync")]
    with pytest.raises(PluginFailed, match="not the utility ramdisk") as failed:
        call(COMMAND)
    assert (failed.value.code, failed.value.exit_status) == ("not_in_ramdisk", 77)
    assert [tool.calls for tool in tools] == [[], [], []]


@pytest.mark.root
def test_in_the_ramdisk_init_is_asked(fake_tool, tmp_path):
    answer, tools = call_in_ramdisk(COMMAND, tmp_path, fake_tool, "sync", "busybox")
    assert answer == {"method": "busybox"}
    assert not problems(COMMAND, "response", answer)
    assert tools["busybox"].calls == [["poweroff"]]
    assert len(tools["sync"].calls) == 1
