import json

import pytest

from agent_router.deploy import node
from tests.support.plugin import BadRequest, PluginFailed, problems

COMMAND = "poll.set_node_info"
NODE = {
    "uuid": "9588cd5c-5a6e-4d1c-a6cd-0f1a26d5c0de", "name": "rack1-7",
    "properties": {"root_device": {"serial": "S1"}},
    "instance_info": {"root_device": {"size": 10}, "configdrive": "H4sI", "image_request_authorization": "Basic x"},
    "driver_internal_info": {"agent_secret_token": "******", "agent_erase_devices_iterations": 2},
    "driver_info": {"redfish_password": "x"},
}  # fmt: skip


@pytest.fixture
def state(call, tmp_path):
    call.extra_env = {"AGENT_STATE_DIR": str(tmp_path)}
    return tmp_path


@pytest.mark.parametrize("node_info", [
    None, {}, {"node": {}}, {"node": {"uuid": ""}}, {"node": {"uuid": "u", "properties": []}},
])  # fmt: skip
def test_schema_refuses(call, node_info):
    with pytest.raises(BadRequest):
        call(COMMAND, node_info=node_info)


def test_takes_the_answer_of_a_lookup():
    assert not problems(COMMAND, "request", {"node_info": {"node": {**NODE, "links": []}, "config": {"any": 1}}})


def test_keeps_what_later_commands_need_and_no_secret(call, state):
    assert call(COMMAND, node_info={"node": NODE, "config": {"agent_token": "T"}}) == {"uuid": NODE["uuid"]}
    place = state / "node.json"
    assert json.loads(place.read_text()) == {
        "uuid": NODE["uuid"],
        "properties": NODE["properties"],
        "instance_info": {"root_device": {"size": 10}},
        "driver_internal_info": {"agent_erase_devices_iterations": 2},
    }
    assert place.stat().st_mode & 0o777 == 0o600
    assert node.recall(state)["uuid"] == NODE["uuid"]
    call(COMMAND, node_info={"node": {"uuid": "other"}})
    assert node.recall(state) == {"uuid": "other", "properties": {}, "instance_info": {}, "driver_internal_info": {}}


def test_an_agent_that_ironic_knows_is_not_told_otherwise(call, state):
    (state / "ironic.json").write_text("{}")
    with pytest.raises(PluginFailed, match="looked up its node") as failed:
        call(COMMAND, node_info={"node": NODE})
    assert (failed.value.code, failed.value.exit_status) == ("node_known", 77)
    assert not (state / "node.json").exists()
