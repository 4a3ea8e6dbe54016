import json
import stat

import pytest

from agent_router.conductor.state import ConductorState

TOKEN = "A" * 43


def remembered(directory):
    state = ConductorState(str(directory))
    state.node_uuid, state.token, state.callback_url = "uuid", TOKEN, "https://192.0.2.7:9999"
    state.config = {"heartbeat_timeout": 300}
    state.save()
    return state


def test_what_was_saved_is_there_again(tmp_path):
    remembered(tmp_path)
    state = ConductorState(str(tmp_path))
    assert (state.node_uuid, state.token, state.config) == ("uuid", TOKEN, {"heartbeat_timeout": 300})
    assert state.callback_url == "https://192.0.2.7:9999"


def test_only_root_reads_the_token(tmp_path):
    remembered(tmp_path)
    assert (tmp_path / "token").read_text() == TOKEN
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_without_a_token_the_agents_own_is_kept(tmp_path):
    (tmp_path / "token").write_text("made at the start")
    ConductorState(str(tmp_path)).save()
    assert (tmp_path / "token").read_text() == "made at the start"


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "\ufffd"])
def test_a_damaged_file_is_ignored(tmp_path, text):
    (tmp_path / "ironic.json").write_text(text)
    state = ConductorState(str(tmp_path))
    assert (state.node_uuid, state.token, state.config) == ("", "", {})


def test_values_of_another_type_are_not_taken(tmp_path):
    (tmp_path / "ironic.json").write_text(json.dumps({"node_uuid": 7, "token": TOKEN, "config": []}))
    state = ConductorState(str(tmp_path))
    assert (state.node_uuid, state.token, state.config) == ("", TOKEN, {})
