"""flow.start_flow at a real agent: all is checked before anything runs; progress, failure, cancel, kills."""

import time
from pathlib import Path

import pytest

from tests.support.agent import Agent, Drop, FreshAgent
from tests.support.gate import Gate
from tests.support.waiting import wait_for

FLOW = "flow.start_flow"
NOTE = '#!/bin/sh\necho "$AGENT_METHOD" >>"$PARAM_note"\necho "{}"\n'
REQUEST = {"type": "object", "required": ["note"], "properties": {"note": {"type": "string"}}}


@pytest.fixture
def note(drop: Drop, tmp_path: Path) -> Path:
    """What the methods note.one and note.two write their names to."""
    drop("note.one", NOTE, request=REQUEST)
    drop("note.two", NOTE, request=REQUEST)
    return tmp_path / "note"


def flow(*commands: tuple[str, dict]) -> dict:
    return {"flow": [{name: params} for name, params in commands]}


def test_runs_in_order_and_answers_with_every_result(agent: Agent, note: Path):
    one, two = ("note.one", {"note": str(note)}), ("note.two", {"note": str(note)})
    command = agent.post(FLOW, flow(two, one, two))
    assert command["command_status"] == "SUCCEEDED", command
    results = command["command_result"]["results"]
    assert [result["name"] for result in results] == ["note.two", "note.one", "note.two"]
    assert note.read_text().split() == ["note.two", "note.one", "note.two"]
    listed = {one["id"]: one for one in agent.commands()}
    assert [listed[result["id"]] for result in results] == results, "each is a command like any other"
    started = [command["started_at"], *(result["started_at"] for result in results)]
    assert started == sorted(started)


def test_steps_and_lists_of_steps_can_be_in_a_flow(agent: Agent, drop: Drop):
    drop("note.step", '#!/bin/sh\necho "{}"\n', steps=[{"interface": "raid", "step": "note", "phases": ["clean"]}])
    step = {"step": "note", "interface": "raid"}
    params = {"step": step, "node": {}, "ports": []}
    command = agent.post(FLOW, flow(("clean.get_clean_steps", {}), ("clean.execute_clean_step", params)))
    listed, executed = command["command_result"]["results"]
    assert "note" in str(listed["command_result"]["clean_steps"])
    assert executed["command_result"] == {"clean_result": {}, "clean_step": step}


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        (("note.none", {}), 404, "$.flow[1]"),
        (("note.two", {}), 400, "note.two: $: 'note' is a required property"),
        ((FLOW, flow(("note.one", {}))), 400, "a flow cannot contain a flow"),
        (("clean.execute_clean_step", {"step": {"step": "none"}}), 400, "offers the clean step"),
        (("note.two", None), 400, "$.flow[1]['note.two']"),
    ],
)
def test_nothing_is_run_if_one_is_wrong(agent: Agent, note: Path, bad, status, words):
    reply = agent.send(FLOW, flow(("note.one", {"note": str(note)}), bad))
    assert reply.status == status, reply
    assert words in reply.problem["message"]
    assert not note.exists()


@pytest.mark.parametrize("request_", [
    {}, {"flow": []}, {"flow": {}}, {"flow": [{}]}, {"flow": [{"a.b": {}, "c.d": {}}]},
])  # fmt: skip
def test_what_is_no_flow_is_refused(agent: Agent, request_):
    reply = agent.send(FLOW, request_)
    assert (reply.status, reply.problem["code"]) == (400, "request_invalid")


def test_the_first_failure_ends_it(agent: Agent, note: Path, drop: Drop):
    drop("note.fails", "#!/bin/sh\necho 'the disk is on fire' >&2\nexit 1\n")
    one = ("note.one", {"note": str(note)})
    error = agent.post(FLOW, flow(one, ("note.fails", {}), one))["command_error"]
    assert error["message"] == "command 2 of 3, note.fails, failed: the disk is on fire (exit status 1)"
    statuses = [result["command_status"] for result in error["plugin"]["partial"]["results"]]
    assert statuses == ["SUCCEEDED", "FAILED"]
    assert note.read_text().split() == ["note.one"]


def test_a_lock_that_another_holds_fails_it(agent: Agent, gate: Gate):
    id = agent.post("lock.one", {"thing": "x", "until": str(gate)}, wait=False)["id"]
    error = agent.post(FLOW, flow(("lock.one", {"thing": "x"})))["command_error"]
    assert error["message"].startswith(f"command 1 of 1, lock.one, failed: lock.one (command {id}) is running")
    agent.delete(f"/v1/commands/{id}")
    agent.ended(id)


def test_a_critical_section_is_waited_for(agent: Agent, gate: Gate):
    id = agent.post(FLOW, flow(("stop.critical", {"until": str(gate)}), ("lock.none", {})), wait=False)["id"]
    wait_for(lambda: any(one.get("critical") for one in agent.commands()), "it is in its critical section")
    assert agent.delete(f"/v1/commands/{id}").status == 202
    time.sleep(0.5)  # nothing happens
    assert agent.command(id)["command_status"] == "RUNNING"
    gate.release()
    assert agent.ended(id)["command_error"]["type"] == "Cancelled"
    critical = next(one for one in agent.commands() if one["name"] == "stop.critical")
    assert agent.ended(critical["id"])["command_result"] == {"flashed": True}  # its verdict may come after the flow's


def test_progress_is_that_of_the_running_command_and_cancel_stops_it(agent: Agent, note: Path):
    slow = ("stop.polite", {})
    one, two = (("note." + name, {"note": str(note)}) for name in ("one", "two"))
    id = agent.post(FLOW, flow(one, slow, two), wait=False)["id"]

    def running() -> dict | None:
        return next(
            (one for one in agent.commands() if one["name"] == "stop.polite" and one["command_status"] == "RUNNING"),
            None,
        )

    inner = wait_for(running, "the second command runs")
    progress = wait_for(
        lambda: (agent.command(id).get("progress") or {}).get("done") == 1 and agent.command(id)["progress"],
        "the flow tells of it",
    )
    assert (progress["total"], progress["unit"]) == (3, "commands")
    assert progress["message"].startswith("stop.polite")
    assert agent.delete(f"/v1/commands/{id}").status == 202
    flow_end, inner_end = agent.ended(id), agent.ended(inner["id"])
    assert flow_end["command_error"]["type"] == "Cancelled"
    assert "command 2 of 3, stop.polite, was stopped" in flow_end["command_error"]["message"]
    assert inner_end["command_error"]["type"] == "Cancelled"
    assert note.read_text().split() == ["note.one"]


def test_the_secret_of_a_command_is_in_no_answer(agent: Agent):
    secret = "correct horse battery"
    command = agent.post(FLOW, flow(("test.secret", {"password": secret})))
    assert secret not in str(command)
    assert secret not in str(agent.commands())
    assert secret not in agent.log(command["id"])


def test_it_goes_on_while_the_agents_processes_are_killed(fresh_agent: FreshAgent, tmp_path: Path, gate: Gate):
    agent = fresh_agent()
    runs = ("work.sh", {"runs": str(tmp_path / "runs"), "n": 3, "until": str(gate)})
    id = agent.post(FLOW, flow(runs, runs, runs), wait=False)["id"]
    wait_for((tmp_path / "runs").exists, "the first command has begun")
    for role in ("front", "runner", "front"):
        agent.kill(role)
        wait_for(lambda: len(agent.pids) == 3, "all processes are there again")
        gate.release(1)
    command = agent.ended(id)
    assert command["command_error"] is None, command["command_error"]
    assert [one["command_result"] for one in command["command_result"]["results"]] == [{"square": 9}] * 3
    assert len((tmp_path / "runs").read_text().split()) == 3, "none ran twice"
