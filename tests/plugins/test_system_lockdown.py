import pytest

from tests.support.fake_ramdisk import call_in_ramdisk
from tests.support.plugin import BadRequest, PluginFailed, manifest

COMMAND = "system.lockdown"


def test_schema_refuses(call):
    with pytest.raises(BadRequest):
        call(COMMAND, now=True)


def test_ironic_waits_for_the_answer_and_then_agent_and_network_end():
    found = manifest(COMMAND)
    assert (found["synchronous"], found["closes"]) == (True, "network")
    assert "locks" not in found, "nothing else may run while everything ends"


def test_this_machine_is_left_alone(call):
    with pytest.raises(PluginFailed, match="not the utility ramdisk") as failed:
        call(COMMAND)
    assert failed.value.exit_status == 77


@pytest.mark.root
def test_in_the_ramdisk_it_calls_no_tool(fake_tool, tmp_path):
    answer, tools = call_in_ramdisk(COMMAND, tmp_path, fake_tool, "ip", "systemctl")
    assert answer == {}
    assert all(tool.calls == [] for tool in tools.values())
