import pytest

from tests.support.plugin import PluginFailed, manifest, problems

COMMAND = "standby.sync"


def test_schema():
    assert manifest(COMMAND)["synchronous"] is True
    assert problems(COMMAND, "request", {"x": 1})


def test_syncs(call, fake_tool):
    tool = fake_tool("sync")
    assert call(COMMAND) == {}
    assert len(tool.calls) == 1


def test_a_disk_that_did_not_take_it_is_a_failure(call, fake_tool):
    fake_tool("sync", stderr="sync: error syncing: Input/output error", status=1)
    with pytest.raises(PluginFailed, match="may not have reached a disk") as failed:
        call(COMMAND)
    assert failed.value.code == "sync_failed"
