"""When a multicast session begins, and what is told of it."""

import pytest

from agent_router.seed.sender import SETTLE_S, Gathering, Group, Sender
from tests.support.waiting import wait_for


def joined(number, address="192.0.2.1"):
    return f"New connection from {address}  (#{number}) 00000009"


@pytest.mark.parametrize(("receivers", "wait_s", "heard", "begin_at"), [
    (1, 30, [], None),
    (1, 30, [(5, "Using full duplex mode")], None),
    (1, 30, [(5, joined(0))], 5 + SETTLE_S),
    (2, 30, [(5, joined(0)), (9, joined(1))], 9 + SETTLE_S),
    (2, 30, [(5, joined(0))], 35),
    (3, 30, [(5, joined(0)), (34.9, joined(1))], 34.9 + SETTLE_S),
    (2, 0, [(5, joined(0))], None),
    (2, 30, [(5, joined(0)), (6, joined(1)), (7, "Disconnecting #0 (192.0.2.1)")], 35),
    (2, 30, [(5, joined(0)), (7, "Disconnecting #0 (192.0.2.1)")], None),
    (2, 30, [(5, joined(0)), (7, "Disconnecting #0 (192.0.2.1)"), (8, joined(0))], 38),
], ids=str)  # fmt: skip
def test_a_session_begins_when_all_had_time_to_hear_that_they_are_in(receivers, wait_s, heard, begin_at):
    gathering = Gathering(Group(receivers=receivers, wait_s=wait_s))
    assert [gathering.hear(line, now) for now, line in heard] == [""] * len(heard)
    assert gathering.begin_at() == begin_at


def test_who_is_left_behind_is_named():
    gathering = Gathering(Group(drop_s=5))
    gathering.hear(joined(0), 0)
    gathering.hear(joined(1, "192.0.2.2"), 0)
    told = gathering.hear("Dropping client #1 because of timeout", 9)
    assert told == "192.0.2.2 was silent for 5 s and is left behind by the multicast session"


@pytest.fixture
def conduct(tmp_path, monkeypatch):
    """`conduct(script, enough)` lets a Sender run this instead of udp-sender until enough(sender); what it said."""
    program, path = tmp_path / "udp-sender", tmp_path / "image"
    path.write_bytes(b"x")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def run(script, enough):
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        said = []
        sender = Sender(path, Group(), said.append)
        sender.start()
        try:
            wait_for(lambda: enough(sender, said))
        finally:
            sender.stop()
        assert not sender.is_alive()
        return said

    return run


def test_the_key_is_pressed_once_a_receiver_is_there_and_sessions_follow_each_other(conduct, tmp_path):
    script = f"echo '{joined(0)}' >&2; read -rn1 _ && read -rt0.2 _ || echo >>{tmp_path}/begun"
    assert conduct(script, lambda sender, said: sender.sessions == 2) == []
    assert (tmp_path / "begun").read_text() == "\n\n"


def test_a_sender_that_fails_is_quoted(conduct):
    script = "echo one >&2; echo -n 'No suitable network interface found' >&2; exit 1"
    said = conduct(script, lambda sender, said: said)
    assert said == ["udp-sender ended with 1: No suitable network interface found"]
