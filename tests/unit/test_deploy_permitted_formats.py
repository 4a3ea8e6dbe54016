import json

import pytest

from agent_router.deploy import permitted_formats
from agent_router.plugin import Refused


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_STATE_DIR", str(tmp_path))
    return tmp_path


def test_a_format_that_is_not_listed_is_refused_with_the_option_that_says_so(state):
    permitted_formats.remember({"permitted_image_formats": ["raw", "gpt"]}, state)
    with pytest.raises(Refused, match=r"permitted_image_formats in \[conductor\] .* is raw, gpt; add qcow2") as failed:
        permitted_formats.refuse("qcow2")
    assert failed.value.code == "format_not_permitted"


@pytest.mark.parametrize("config", [
    {"permitted_image_formats": ["raw", "qcow2"]}, {}, {"permitted_image_formats": None},
    {"permitted_image_formats": ["raw"], "disable_deep_image_inspection": True},
])  # fmt: skip
def test_what_is_listed_is_permitted_and_everything_if_nothing_is_said_or_the_operator_wants_no_check(state, config):
    permitted_formats.remember(config, state)
    permitted_formats.refuse("qcow2")


@pytest.mark.parametrize("form", ["raw", "gz", "xz", "zst", "bz2"])
def test_a_raw_image_is_always_permitted_as_it_is_by_the_other_agent(state, form):
    permitted_formats.remember({"permitted_image_formats": []}, state)
    permitted_formats.refuse(form)


def test_without_an_agent_or_without_ironic_there_is_no_list(state, monkeypatch):
    permitted_formats.refuse("qcow2")
    monkeypatch.delenv("AGENT_STATE_DIR")
    permitted_formats.refuse("qcow2")


def test_nothing_else_of_the_lookup_is_kept(state):
    permitted_formats.remember({"permitted_image_formats": ["raw"], "agent_token": "s3cret"}, state)
    [path] = state.iterdir()
    assert json.loads(path.read_text()) == {"permitted_image_formats": ["raw"]}
