import json
import stat

import pytest

from agent_router.conductor.memory import Memory, replace

TOKEN = "A" * 43


def remembered(directory):
    memory = Memory(str(directory))
    memory.node_uuid, memory.token, memory.callback_url = "uuid", TOKEN, "https://192.0.2.7:9999"
    memory.config = {"heartbeat_timeout": 300}
    memory.save()
    return memory


def test_what_was_saved_is_there_again(tmp_path):
    remembered(tmp_path)
    memory = Memory(str(tmp_path))
    assert (memory.node_uuid, memory.token, memory.config) == ("uuid", TOKEN, {"heartbeat_timeout": 300})
    assert memory.callback_url == "https://192.0.2.7:9999"


def test_only_root_reads_the_token(tmp_path):
    remembered(tmp_path)
    assert (tmp_path / "token").read_text() == TOKEN
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_token_that_is_not_known_yet_does_not_take_the_agents_own_away(tmp_path):
    (tmp_path / "token").write_text("made at the start")
    Memory(str(tmp_path)).save()
    assert (tmp_path / "token").read_text() == "made at the start"


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "\ufffd"])
def test_a_damaged_file_is_as_none(tmp_path, text):
    (tmp_path / "ironic.json").write_text(text)
    memory = Memory(str(tmp_path))
    assert (memory.node_uuid, memory.token, memory.config) == ("", "", {})


def test_values_of_another_type_are_not_taken(tmp_path):
    (tmp_path / "ironic.json").write_text(json.dumps({"node_uuid": 7, "token": TOKEN, "config": []}))
    memory = Memory(str(tmp_path))
    assert (memory.node_uuid, memory.token, memory.config) == ("", TOKEN, {})


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file"
    replace(path, "first")
    with path.open() as old:
        replace(path, "second")
        assert (old.read(), path.read_text()) == ("first", "second")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
