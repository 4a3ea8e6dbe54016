import json

import pytest

from tests.support.plugin import PluginFailed, manifest, problems

FACTS = [["disk", "sda", "size", "480"], ["cpu", "logical", "number", 64]]


@pytest.mark.parametrize("request_", [
    {"benchmarks": "cpu"}, {"benchmarks": ["net"]}, {"benchmarks": ["cpu", "cpu"]}, {"destructive": True},
])  # fmt: skip
def test_schema_refuses(request_):
    assert problems("inspect.extra_hardware", "request", request_)


def test_without_the_tool_the_method_is_not_offered():
    assert manifest("inspect.extra_hardware")["needs"] == {"commands": ["hardware-detect"]}


@pytest.mark.parametrize(("request_", "arguments"), [
    ({}, []), ({"benchmarks": []}, []), ({"benchmarks": ["cpu", "disk"]}, ["--benchmark", "cpu", "disk"]),
])  # fmt: skip
def test_facts_of_the_tool(call, fake_tool, request_, arguments):
    detect = fake_tool("hardware-detect", json.dumps(FACTS), stderr="Info: probing\n")
    assert call("inspect.extra_hardware", **request_) == {"data": FACTS}
    (called,) = detect.calls
    assert [word for word in called if word] == arguments  # no argument at all is recorded as an empty one


@pytest.mark.parametrize(("stdout", "status", "code", "message"), [
    ("", 1, "tool_failed", "hardware-detect exited with status 1: no root"),
    ("oops", 0, "no_data", "hardware-detect did not print a JSON list but 'oops'"),
])  # fmt: skip
def test_trouble_with_the_tool(call, fake_tool, stdout, status, code, message):
    fake_tool("hardware-detect", stdout, "no root\n", status)
    with pytest.raises(PluginFailed) as caught:
        call("inspect.extra_hardware")
    assert (caught.value.code, caught.value.message) == (code, message)
