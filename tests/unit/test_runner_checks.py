import pytest

from agent_router.runner import checks

RUN = {
    "op": "run", "id": "a-1_b", "name": "a.b", "argv": ["/bin/true"], "params": {"PARAM_x": "1"}, "locks": ["node"],
    "timeout_s": 60, "grace_s": 0.5, "out_limit": 1, "log_limit": 1,
}  # fmt: skip


@pytest.mark.parametrize("message", [
    RUN, {"op": "ping"}, {"op": "list", "n": 5}, {"op": "get", "id": "x", "wait": True}, {**RUN, "at": 5, "secrets": 3},
])  # fmt: skip
def test_messages_of_the_agent_pass(message):
    assert checks.message(message) is message


@pytest.mark.parametrize("message", [
    None, 5, [], "run", {}, {"op": "dance"}, {"op": ["run"]}, {"op": "get"}, {"op": "get", "id": 5},
    {"op": "get", "id": ""}, {"op": "get", "id": "../x"}, {"op": "get", "id": "x" * 65}, {"op": "get", "id": "a\n"},
    *({key: value for key, value in RUN.items() if key != left} for left in RUN), {**RUN, "argv": []},
    {**RUN, "argv": ["a\0b"]}, {**RUN, "argv": [5]}, {**RUN, "params": {"x": 5}}, {**RUN, "locks": [None]},
    {**RUN, "timeout_s": float("nan")}, {**RUN, "at": float("inf")}, {**RUN, "stdin": 5},
])  # fmt: skip
def test_anything_else_is_refused_with_a_reason(message):
    with pytest.raises(ValueError, match=r"^(it is|its|a name)"):
        checks.message(message)


def test_a_record_is_one_line_that_begins_with_its_id():
    assert checks.is_record(b'{"id":"x","started_at":1}', "x")
    for text in (b"", b"[]", b'{"id":"y","a":1}', b'{"id":"x","a":1', b'{"id":"x",\n"a":1}', b'{ "id":"x","a":1}'):
        assert not checks.is_record(text, "x")
