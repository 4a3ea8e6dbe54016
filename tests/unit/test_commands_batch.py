import json

import pytest

from agent_router.commands.batch import prepared
from agent_router.commands.calls import Batch, Call
from agent_router.schema.problems import Problem, RequestError


def prepare(name, params):
    if name == "no.such":
        raise RequestError(404, "method_unknown", "There is no method no.such")
    if name == "bad.request":
        raise RequestError(400, "request_invalid", "x", [Problem("$.a", "is missing"), Problem("$.b", "is unknown")])
    if name == "not.allowed":
        return Call("id", {"id": "id", "refused": "/dev/sda is not in the list of devices"}, b"{}")
    if name == "has.secret":
        return Call("id", {"id": "id", "secrets": 8}, b'["open"]{"k":1}')
    return Call("id-" + name, {"id": "id-" + name}, json.dumps(params).encode())


def test_the_plugin_gets_messages_for_the_runner_in_order():
    body, hidden = prepared(prepare, Batch([("a.b", {"x": 1}), ("has.secret", {})], "$.flow"))
    one, two = json.loads(body)["commands"]
    assert one == {"name": "a.b", "head": {"id": "id-a.b"}, "body": '{"x": 1}'}
    assert two["body"] == '["open"]{"k":1}'
    assert hidden == ["open"], "the flow must not show it either"


def test_all_problems_of_all_commands_are_told():
    commands = [("a.b", {}), ("no.such", {}), ("bad.request", {}), ("not.allowed", {})]
    with pytest.raises(RequestError) as refused:
        prepared(prepare, Batch(commands, "$.flow"))
    assert (refused.value.status, refused.value.code) == (404, "request_invalid")
    assert [str(problem) for problem in refused.value.problems] == [
        "$.flow[1]: There is no method no.such", "$.flow[2]: bad.request: $.a: is missing",
        "$.flow[2]: bad.request: $.b: is unknown", "$.flow[3]: /dev/sda is not in the list of devices",
    ]  # fmt: skip
    assert refused.value.message.startswith("Nothing was run: $.flow[1]: There is no method no.such; ")
    assert refused.value.message.endswith(" …")
