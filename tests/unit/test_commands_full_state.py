import os
import types

import pytest

from agent_router.commands import full_state
from agent_router.commands.verdict import Verdict


def failure(type="PluginFailed"):
    text = "it ended with exit status 1 and said nothing"
    return Verdict(error={"type": type, "code": 500, "message": text, "details": f"{text}\nlog: x"})


@pytest.fixture
def room(monkeypatch):
    """`room(bytes, inodes)`: what statvfs says."""

    def set_to(left, inodes=5):
        info = types.SimpleNamespace(f_bfree=left // 4096, f_frsize=4096, f_files=10, f_ffree=inodes)
        monkeypatch.setattr(full_state.os, "statvfs", lambda path: info)

    return set_to


@pytest.mark.parametrize(("left", "inodes", "words"), [
    (0, 5, "is full (0 KiB left), which may be why: see what other commands wrote there"), (8192, 5, "8 KiB left"),
    (1 << 30, 0, "no inode left"),
])  # fmt: skip
@pytest.mark.parametrize("type", full_state.TYPES)
def test_a_full_state_directory_is_named_as_the_cause(room, left, inodes, words, type):
    room(left, inodes)
    verdict = failure(type)
    full_state.explain(verdict, "/run/agent")
    message = verdict.error["message"]
    assert message.startswith("it ended with exit status 1 and said nothing; the state directory /run/agent is full (")
    assert words in message
    assert verdict.error["details"] == f"{message}\nlog: x"


def test_where_there_is_room_or_another_reason_nothing_is_added(room):
    room(1 << 20)
    for verdict in (failure(), Verdict(result={})):
        before = str(verdict)
        full_state.explain(verdict, "/run/agent")
        assert str(verdict) == before
    room(0)
    for verdict in (failure("Timeout"), failure("Refused"), Verdict(result={})):
        before = str(verdict)
        full_state.explain(verdict, "/run/agent")
        assert str(verdict) == before


def test_a_state_directory_that_is_gone_is_no_full_one(tmp_path):
    verdict = failure()
    full_state.explain(verdict, os.fspath(tmp_path / "gone"))
    assert verdict == failure()
