"""What takes long to check holds up nobody, gets an answer of its own, and never comes back."""

import json
import os
import signal
import threading

import pytest

from tests.support import processes
from tests.support.agent import Agent, Drop
from tests.support.waiting import wait_for

# To look ahead is beyond the engine that never goes back, so these need more than a lifetime.
SLOW = {"type": "string", "pattern": "^(?=a)(a+)+$"}
ALMOST = "a" * 45 + "!"
TREE = {
    "$defs": {"tree": {"oneOf": [{"type": "object", "properties": {"child": {"$ref": "#/$defs/tree"}}}] * 2}},
    "type": "object",
    "properties": {"tree": {"$ref": "#/$defs/tree"}},
}


def nested(depth: int) -> dict:
    document: dict = {}
    for _ in range(depth):
        document = {"child": document}
    return document


def assert_served(agent: Agent) -> None:
    """At once, though a check is going on."""
    assert agent.request("GET", "/v1/status").status == 200
    assert agent.post("test.echo", {"text": "x"})["command_status"] == "SUCCEEDED"


ANSWERS = {
    "pattern": ({"response": {"properties": {"a": SLOW}}}, json.dumps({"a": ALMOST})),
    "regex": ({"exec": {"argv": [], "stdout": "regex", "regex": "^(?P<v>(a+)+)$"}}, ALMOST),
    "alternatives": ({"response": TREE}, json.dumps({"tree": nested(40)})),
    "success": (
        {"exec": {"argv": [], "success": {"properties": {"a": SLOW}, "required": ["a"]}}},
        json.dumps({"a": ALMOST}),
    ),
}


@pytest.mark.parametrize(("keys", "printed"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_whose_check_takes_too_long_is_a_failure_of_the_plugin(agent: Agent, drop: Drop, keys, printed):
    drop("slow.answer", f"#!/bin/bash\necho '{printed}'\n", **keys)
    id = agent.post("slow.answer", wait=False)["id"]
    assert_served(agent)
    error = agent.command(id, wait=True)["command_error"]
    assert (error["type"], error["code"]) == ("CheckTooSlow", 500)
    assert error["message"].startswith("its output could not be checked: that took more than 3 s of computing time")
    assert "simplify pattern, exec.regex" in error["message"]


REQUESTS = {"pattern": ({"properties": {"a": SLOW}}, {"a": ALMOST}), "alternatives": (TREE, {"tree": nested(40)})}


@pytest.mark.parametrize(("schema", "params"), REQUESTS.values(), ids=REQUESTS.keys())
def test_a_request_whose_check_takes_too_long_is_refused(agent: Agent, drop: Drop, schema, params):
    drop("slow.request", "#!/bin/bash\nexec cat\n", request={"type": "object", **schema})
    answers = []
    asking = threading.Thread(target=lambda: answers.append(agent.send("slow.request", params)))
    asking.start()
    assert_served(agent)
    asking.join()
    (answer,) = answers
    assert (answer.status, answer.json["code"]) == (422, "check_too_slow")
    assert answer.json["faultstring"].startswith("Checking the request took more than 3 s of computing time")


def test_a_simple_pattern_with_nested_quantifiers_is_checked_at_once(agent: Agent, drop: Drop):
    pattern = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    drop("slow.looking", "#!/bin/bash\nexec cat\n", request=pattern, response=pattern)
    assert agent.send("slow.looking", {"a": ALMOST}).json["code"] == "request_invalid"
    drop("slow.looking", f'#!/bin/bash\necho \'{{"a": "{ALMOST}"}}\'\n', response=pattern)
    assert agent.post("slow.looking")["command_error"]["type"] == "InvalidResponse"


def test_nine_thousand_objects_that_must_differ(agent: Agent, drop: Drop):
    script = "#!/usr/bin/env python3\nimport json\nprint(json.dumps([{'a': n} for n in range(9000)] + [{'a': 5}]))\n"
    drop("slow.unique", script, response={"uniqueItems": True})
    id = agent.post("slow.unique", wait=False)["id"]
    assert_served(agent)
    assert agent.command(id, wait=True)["command_error"]["type"] in ("InvalidResponse", "CheckTooSlow")


def test_a_verdict_survives_the_death_of_its_judge_and_of_its_worker(agent: Agent, drop: Drop):
    """Both are killed while they are at it, so whoever comes next gets the same end of a command again."""
    drop("slow.once", f"#!/bin/bash\necho '{ALMOST}'\n", exec=ANSWERS["regex"][0]["exec"])
    id = agent.post("slow.once", wait=False)["id"]
    (judge,) = wait_for(lambda: busy_judges(agent), "a judge at work")
    processes.kill(judge, signal.SIGKILL)
    wait_for(lambda: [pid for pid in busy_judges(agent) if pid != judge], "another judge")
    assert agent.command(id, wait=True)["command_error"]["type"] == "CheckTooSlow"


def test_a_command_that_ends_every_judge_gets_a_verdict_without_one(agent: Agent, drop: Drop):
    drop("slow.deadly", f"#!/bin/bash\necho '{ALMOST}'\n", exec=ANSWERS["regex"][0]["exec"])
    id = agent.post("slow.deadly", wait=False)["id"]
    killed: set[int] = set()
    for _ in range(2):
        (judge,) = wait_for(lambda: [pid for pid in busy_judges(agent) if pid not in killed], "a judge at work")
        killed.add(judge)
        processes.kill(judge, signal.SIGKILL)
    error = agent.command(id, wait=True)["command_error"]
    assert error["type"] == "JudgeFailed"
    assert error["message"].endswith("that twice ended the process that did it (signal SIGKILL)")
    assert_served(agent)


def busy_judges(agent: Agent) -> list[int]:
    """Those that have computed for a while."""
    ticks = os.sysconf("SC_CLK_TCK")
    return [pid for pid in agent.judges if int((processes.stat(pid) or [0] * 12)[11]) > ticks // 4]
