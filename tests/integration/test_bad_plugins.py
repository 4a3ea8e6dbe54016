"""A misbehaving plugin gets the verdict it deserves and hurts nobody: agent and neighbours stay as they were."""

import signal
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import Agent, Drop
from tests.support.waiting import wait_for


def failed(command: dict, kind: str, code: int = 500) -> str:
    """The message of a command that must have failed as `kind`."""
    assert command["command_status"] == "FAILED", command
    error = command["command_error"]
    assert (error["type"], error["code"]) == (kind, code), error
    assert command["command_result"] is None
    assert error["details"].startswith(error["message"])
    return error["message"]


# ---- time


def test_one_that_never_ends_is_ended_by_its_time_limit(agent: Agent):
    message = failed(agent.post("bad.never_ends"), "Timeout", 504)
    assert "within 0.5 s" in message


def test_one_that_ignores_sigterm_is_killed_after_its_grace(agent: Agent):
    id = agent.post("bad.ignores_term", wait=False)["id"]
    wait_for(lambda: agent.log(id), "it ignores SIGTERM")
    agent.delete(f"/v1/commands/{id}")
    command = agent.command(id, wait=True)
    failed(command, "Cancelled", 409)
    assert "deaf ears" in command["command_error"]["details"]
    (asked, asked_at), (killed, killed_at) = (
        (data["state"], data["time"]) for event, data in agent.events(id) if event == "state"
    )
    assert (asked, killed) == ("terminating", "killing")
    assert killed_at - asked_at >= 0.5


# ---- floods


@pytest.mark.parametrize(("name", "kind"), [("bad.floods_stdout", "OutputLimit"), ("bad.floods_stderr", "LogLimit")])
def test_a_flood_is_ended_and_neither_memory_nor_disk_suffers(agent: Agent, name, kind):
    before = processes.rss_kib(agent.pids["runner"])
    command = agent.post(name)
    message = failed(command, kind)
    assert "0.5 MiB" in message
    assert processes.rss_kib(agent.pids["runner"]) < before + 4096
    base = agent.state / "c" / command["id"]
    wait_for(lambda: not (base / "stdin").exists(), "its files are closed")
    assert sum(path.stat().st_size for path in base.glob("*")) < 1 << 20


def test_a_log_that_grew_unseen_is_cut_to_its_limit(agent: Agent, drop: Drop, tmp_path: Path):
    """The runner is held while it happens, as on a machine that has no time for it."""
    go = tmp_path / "go"
    script = f"#!/bin/bash\nuntil [[ -e {go} ]]; do sleep 0.01; done\nhead -c 20M /dev/zero >&2\n"
    drop("dropped.bursts", script, log_limit_mib=0.5)
    id = agent.post("dropped.bursts", wait=False)["id"]
    log = agent.state / "c" / id / "log"
    runner = agent.pids["runner"]
    processes.kill(runner, signal.SIGSTOP)
    go.touch()
    try:
        wait_for(lambda: log.stat().st_size == 20 << 20, "the burst")
    finally:
        processes.kill(runner, signal.SIGCONT)
    failed(agent.command(id, wait=True), "LogLimit")
    assert log.stat().st_size == 1 << 19


def test_a_flood_of_events_is_thinned_and_the_plugin_succeeds(agent: Agent):
    before = processes.rss_kib(agent.pids["runner"])
    command = agent.post("bad.floods_events")
    assert command["command_status"] == "SUCCEEDED", command
    assert command["events_dropped"] > 1000
    assert "heard" in command["warnings"]
    events = agent.events(command["id"])
    assert 1 <= len([event for event, _ in events if event == "progress"]) <= 200
    assert processes.rss_kib(agent.pids["runner"]) < before + 4096
    assert (agent.state / "c" / command["id"] / "stream").stat().st_size < 2 << 20


# ---- streams


def test_closing_stdin_is_allowed(agent: Agent):
    assert agent.post("bad.closes_stdin")["command_result"] == {}


def test_closing_every_descriptor_is_no_answer(agent: Agent):
    failed(agent.post("bad.closes_everything"), "NoResponse")


def test_five_megabytes_that_nobody_reads_block_nobody(agent: Agent):
    command = agent.post("bad.never_reads_stdin", {"data": "x" * 5_000_000})
    assert command["command_result"] == {}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("bad.prints_banner", "InvalidJSON", "ACME flash tool"),
        ("bad.prints_two_values", "InvalidJSON", "Extra data"),
        ("bad.says_nothing", "NoResponse", "printed no response"),
        ("bad.not_utf8", "InvalidJSON", "not UTF-8: byte 10 is 0xff"),
        ("bad.fails_silently", "PluginFailed", "exit status 3"),
        ("bad.dies_by_signal", "KilledBySignal", "SIGSEGV"),
        ("bad.needs_terminal", "PluginFailed", "/dev/tty"),
        ("bad.error_and_success", "PluginFailed", "the second disk is missing"),
        ("bad.python_raises", "PluginFailed", "ZeroDivisionError: division by zero"),
    ],
)
def test_every_failure_names_its_cause(agent: Agent, name, kind, words):
    command = agent.post(name)
    failed(command, kind)
    assert words in command["command_error"]["details"]


def test_an_answer_against_its_schema_is_refused_with_every_problem(agent: Agent):
    command = agent.post("bad.answers_wrong")
    failed(command, "InvalidResponse")
    details = command["command_error"]["details"]
    assert "$.count: 'three' is not of type 'integer'" in details
    assert "'size' is a required property" in details
    assert "'extra' was unexpected" in details


def test_an_error_object_tells_what_was_done(agent: Agent):
    plugin = agent.post("bad.error_and_success")["command_error"]["plugin"]
    assert (plugin["code"], plugin["partial"]) == ("half_done", {"disks": 1})


def test_a_traceback_is_in_the_log(agent: Agent):
    command = agent.post("bad.python_raises")
    assert "ZeroDivisionError" in agent.log(command["id"])
    assert command["command_error"]["plugin"]["code"] == "plugin_defect"


@pytest.mark.parametrize("shebang", ["#!/usr/bin/env python3", "#!/usr/bin/python3"])
def test_python_that_does_not_compile_fails_with_the_line(agent: Agent, drop: Drop, shebang):
    drop("dropped.syntax", f"{shebang}\n\ndef broken(:\n")
    command = agent.post("dropped.syntax")
    failed(command, "PluginFailed")
    assert "SyntaxError" in command["command_error"]["message"]
    assert "line 3" in agent.log(command["id"])


# ---- processes


@pytest.mark.parametrize("name", ["bad.leaves_child", "bad.double_forks", "bad.hides_daemon"])
def test_what_a_plugin_leaves_behind_delays_no_answer_and_is_killed(agent: Agent, name):
    command = agent.post(name)
    assert command["command_status"] == "SUCCEEDED", command
    assert processes.gone(command["command_result"]["pid"])


def test_a_daemon_is_killed_also_while_another_command_runs(agent: Agent):
    other = agent.post("stop.polite", wait=False)
    command = agent.post("bad.double_forks")
    assert processes.gone(command["command_result"]["pid"])
    assert agent.command(other["id"])["command_status"] == "RUNNING"


def test_a_python_plugin_leaves_nothing_behind_either(agent: Agent, drop: Drop):
    drop(
        "dropped.daemon",
        "#!/usr/bin/env python3\nimport json, os, time\n"
        "if not (pid := os.fork()):\n    os.setsid()\n    time.sleep(1000)\nprint(json.dumps({'pid': pid}))\n",
    )
    other = agent.post("stop.polite", wait=False)
    assert processes.gone(agent.post("dropped.daemon")["command_result"]["pid"])
    assert agent.command(other["id"])["command_status"] == "RUNNING"


def test_the_children_of_another_command_are_left_alone(agent: Agent, drop: Drop):
    """Its id holds the other's as a part, and its helper is nobody's child but the agent's."""
    script = """#!/bin/bash
(setsid bash -c 'echo $$ >pid; exec sleep 1000' &)
until [[ -s pid ]]; do sleep 0.01; done
echo "{\\"warn\\": \\"$(<pid)\\"}" >&3
exec sleep 1000
"""
    drop("dropped.helper", script)
    agent.post("dropped.helper", wait=False, id="kin-2")
    [helper] = wait_for(lambda: agent.command("kin-2").get("warnings"), "the helper runs")
    left = agent.post("bad.double_forks", id="kin")["command_result"]["pid"]
    assert processes.gone(left)
    assert processes.alive(int(helper))
    agent.delete("/v1/commands/kin-2")
    assert processes.gone(int(helper))


def test_a_child_in_another_process_group_dies_with_its_plugin(agent: Agent):
    id = agent.post("bad.changes_group", wait=False)["id"]
    [child] = wait_for(lambda: agent.command(id).get("warnings"), "the child runs")
    agent.delete(f"/v1/commands/{id}")
    failed(agent.command(id, wait=True), "Cancelled", 409)
    assert processes.gone(int(child))


def test_a_fork_bomb_of_daemons_leaves_nothing(agent: Agent, drop: Drop):
    drop(
        "dropped.daemons",
        "#!/bin/bash\nfor ((i = 0; i < 60; i++)); do (setsid bash -c 'trap \"\" TERM; sleep 1000; :' &) done\n"
        "sleep 0.1\necho '{}'\n",
    )
    assert agent.post("dropped.daemons")["command_status"] == "SUCCEEDED"
    known = set(agent.pids.values())
    wait_for(lambda: not [text for text in agent.leftovers() if int(text.split()[0]) not in known], "no daemon is left")


def test_a_broken_plugin_leaves_its_neighbours_alone(agent: Agent):
    """All of them at once, and a good one beside them that is answered all the time."""
    limits = {name: 0.5 if end == "Timeout" else 60 for name, end in BAD_TOGETHER.items()}
    bad = [agent.post(name, wait=False, timeout_s=limit_s)["id"] for name, limit_s in limits.items()]
    for n in range(20):
        answer = agent.post("work.bash", {"n": n, "runs": "/dev/null"})
        assert answer["command_result"] == {"square": n * n}
    ends = [agent.command(id, wait=True)["command_error"]["type"] for id in bad]
    assert ends == list(BAD_TOGETHER.values())


BAD_TOGETHER = {
    "bad.never_ends": "Timeout",
    "bad.ignores_term": "Timeout",
    "bad.floods_stdout": "OutputLimit",
    "bad.floods_stderr": "LogLimit",
    "bad.changes_group": "Timeout",
    "bad.dies_by_signal": "KilledBySignal",
    "bad.not_utf8": "InvalidJSON",
}
