import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agent_router

ROOT = str(Path(agent_router.__file__).parents[1])


@pytest.fixture
def run(tmp_path):
    """`run(body, request, action)`: a plugin whose handler has this body; (status, answer, log, events)."""

    def start(body, request=b"{}", action="run", tail="plugin.main(handler, plan=planner)"):
        lines = "\n".join("    " + line for line in body.splitlines())
        (tmp_path / "script").write_text(
            "import os, sys\nfrom agent_router import plugin\n\n"
            f"def handler(request):\n{lines}\n\ndef planner(request):\n    return {{'would': request}}\n\n{tail}\n"
        )
        events = tmp_path / "events"
        environ = {**os.environ, "PYTHONPATH": ROOT, "AGENT_ACTION": action, "AGENT_EVENTS": "/dev/fd/3"}
        command = f"exec 3>>{events}; exec {sys.executable} {tmp_path}/script"
        done = subprocess.run(["bash", "-c", command], input=request, env=environ, capture_output=True, timeout=60)
        answer = json.loads(done.stdout) if done.stdout else None
        return done.returncode, answer, done.stderr.decode(), [json.loads(line) for line in events.open()]

    return start


def test_an_answer(run):
    assert run("return {'got': request, 'text': 'ä'}", b'{"a": [1]}') == (0, {"got": {"a": [1]}, "text": "ä"}, "", [])
    assert run("return None", b"")[:2] == (0, None)


@pytest.mark.parametrize(("kind", "status"), [
    ("Failed", 1), ("InvalidRequest", 64), ("Incompatible", 69), ("Retry", 75), ("Refused", 77),
])  # fmt: skip
def test_each_kind_of_failure_has_its_exit_status(run, kind, status):
    body = f"raise plugin.{kind}('code_word', 'A sentence.', details={{'a': 1}}, partial={{'b': 2}})"
    error = {"code": "code_word", "message": "A sentence.", "details": {"a": 1}}
    assert run(body) == (status, {"error": error, "partial": {"b": 2}}, "", [])
    assert run(f"raise plugin.{kind}('x', 'y')")[1] == {"error": {"code": "x", "message": "y", "details": {}}}


def test_a_defect_tells_its_cause_and_keeps_its_traceback(run):
    status, answer, log, _ = run("return request['key']")
    assert (status, answer) == (1, {"error": {"code": "plugin_defect", "message": "KeyError: 'key'"}})
    assert "Traceback" in log
    assert log.endswith("KeyError: 'key'\n")


@pytest.mark.parametrize("value", ["float('nan')", "{1, 2}", "b'x'"])
def test_an_answer_that_is_no_json_is_a_failure(run, value):
    status, answer, log, _ = run(f"return {{'a': {value}}}")
    assert (status, answer) == (1, None)
    assert "JSON" in log.splitlines()[-1]


def test_exit_by_the_handler_itself(run):
    assert run("sys.exit(5)")[:2] == (5, None)


@pytest.mark.parametrize(("action", "status", "answer"), [
    ("plan", 0, {"would": {}}),
    ("cleanup", 64, {"error": {"code": "action_unsupported", "message": "this plugin cannot cleanup"}}),
    ("dance", 64, {"error": {"code": "action_unsupported", "message": "this plugin cannot dance"}}),
])  # fmt: skip
def test_actions(run, action, status, answer):
    assert run("return 1", action=action)[:2] == (status, answer)


def test_a_request_that_is_no_json(run):
    status, answer, _, _ = run("return 1", b"{")
    assert (status, answer["error"]["code"]) == (64, "bad_request")


def test_what_it_says_while_it_runs(run):
    status, _, log, events = run(
        "plugin.warn('ü' * 5000)\n"
        "with plugin.critical():\n    plugin.log('one\\ntwo', 'error')\n"
        "try:\n    with plugin.critical():\n        raise ValueError\nexcept ValueError:\n    pass\n"
        "plugin.progress(1, 2, 'MiB', 'writing')\nplugin.log('')"
    )
    assert status == 0
    assert log == "<3>one\n<3>two\n<6>\n"
    assert events == [
        {"warn": "ü" * 2000},
        {"critical": True},
        {"critical": False},
        {"critical": True},
        {"critical": False},
        {"done": 1, "total": 2, "unit": "MiB", "message": "writing"},
    ]


def test_progress_is_sent_ten_times_a_second_at_most_and_the_last_always(run):
    body = "import time\nstart = time.monotonic()\nn = 0\n"
    body += "while time.monotonic() - start < 0.55:\n    n += 1\n    plugin.progress(n, 10**9)\nplugin.progress(7, 7)"
    events = run(body)[3]
    assert 4 <= len(events) <= 7
    assert events[-1] == {"done": 7, "total": 7}
    assert all(event["total"] == 10**9 for event in events[:-1])


def test_by_hand_there_is_no_event_stream(run):
    tail = "os.environ.pop('AGENT_EVENTS'); plugin.main(handler)"
    assert run("plugin.warn('x')\nplugin.progress(1)\nreturn 1", tail=tail) == (0, 1, "", [])
    assert run("os.close(3)\nplugin.warn('x')\nreturn 1")[:2] == (0, 1)
