"""The plugin alone; what it does with an agent stands in tests/integration/test_flow.py."""

import pytest

from tests.support.plugin import BadRequest, PluginFailed, problems

COMMAND = "flow.start_flow"


@pytest.mark.parametrize("flow", [
    None, [], {}, [{}], [{"a.b": {}, "c.d": {}}], [{"a.b": None}], [{"A b": {}}], ["a.b"],
])  # fmt: skip
def test_schema_refuses(call, flow):
    with pytest.raises(BadRequest):
        call(COMMAND, flow=flow)


def test_schema_takes_a_flow():
    assert not problems(COMMAND, "request", {"flow": [{"disk.wipe": {"device": "/dev/sda"}}, {"standby.sync": {}}]})


def test_without_an_agent_it_runs_nothing(call):
    with pytest.raises(PluginFailed, match="call it through an agent") as failed:
        call(COMMAND, flow=[{"standby.sync": {}}])
    assert failed.value.code == "not_prepared"
