"""The node that Ironic told, kept for plugins."""

import json
import stat

import pytest

from agent_router.deploy import node
from agent_router.plugin import Failed

HINTS = {"serial": "S1"}
TOLD = {
    "uuid": "9588cd5c", "links": [], "name": "not kept",
    "properties": {"root_device": HINTS, "skip_block_devices": [{"model": "usb"}], "cpu_arch": "x86_64"},
    "instance_info": {
        "configdrive": "H4sI", "image_server_password": "p1", "image_request_authorization": "p2",
        "image_source": "https://u:p3@images/a.raw?temp_url_sig=p4", "rescue_password": "p5",
        "deep": [{"image_pull_secret": "p6", "kept": 1}], "capabilities": {"boot_mode": "uefi"},
    },
    "driver_internal_info": {"agent_secret_token": "p7", "agent_erase_devices_iterations": 2},
}  # fmt: skip


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_STATE_DIR", str(tmp_path))
    return tmp_path


def test_what_was_told_is_there_for_plugins_and_only_root_reads_it(state):
    node.remember(TOLD, state)
    found = node.recall()
    assert set(found) == {"uuid", "properties", "instance_info", "driver_internal_info"}
    assert (found["uuid"], found["properties"]) == ("9588cd5c", TOLD["properties"])
    assert stat.S_IMODE((state / "node.json").stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == ["node.json"]


def test_it_holds_no_secret(state):
    node.remember(TOLD)
    text = (state / "node.json").read_text()
    assert not [secret for secret in ("p1", "p2", "p3", "p4", "p5", "p6", "p7", "H4sI") if secret in text]
    assert json.loads(text)["instance_info"] == {
        "image_source": "https://images/a.raw",
        "deep": [{"kept": 1}],
        "capabilities": {"boot_mode": "uefi"},
    }
    assert json.loads(text)["driver_internal_info"] == {"agent_erase_devices_iterations": 2}


@pytest.mark.parametrize("told", [{}, {"uuid": None, "properties": None, "instance_info": [], "x": 1}])
def test_what_lacks_is_empty(state, told):
    node.remember(told)
    assert node.recall() == {"uuid": "", "properties": {}, "instance_info": {}, "driver_internal_info": {}}


def test_without_an_agent_there_is_no_node(monkeypatch):
    monkeypatch.delenv("AGENT_STATE_DIR", raising=False)
    node.remember(TOLD)
    assert node.recall() is None
    assert node.with_hints({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"uuid": "u", "properties": 1}', "null"])
def test_a_damaged_file_is_no_reason_to_take_another_disk(state, text):
    assert node.recall() is None
    (state / "node.json").write_text(text)
    with pytest.raises(Failed, match="is damaged"):
        node.with_hints({})


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ({}, (HINTS, {"wwn": "1"}, [{"model": "usb"}])),
        ({"root_device": None}, (None, None, [{"model": "usb"}])),
        ({"instance_root_device": {"name": "/dev/sdb"}}, (None, {"name": "/dev/sdb"}, [{"model": "usb"}])),
        ({"root_device": {"size": 10}, "skip_block_devices": []}, ({"size": 10}, None, [])),
        ({"skip_block_devices": None}, (HINTS, {"wwn": "1"}, None)),
    ],
)
def test_hints_of_the_request_win(state, request_, found):
    node.remember({**TOLD, "instance_info": {"root_device": {"wwn": "1"}}})
    made = node.with_hints({**request_, "image_info": {}})
    assert tuple(made.get(key) for key in ("root_device", "instance_root_device", "skip_block_devices")) == found
    assert made["image_info"] == {}
