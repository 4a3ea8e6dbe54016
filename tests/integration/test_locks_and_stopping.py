"""Locks, cancel, time limits, critical sections, cleanup and plan."""

from pathlib import Path

import pytest

from tests.support.agent import Agent, Drop, FreshAgent
from tests.support.gate import Gate
from tests.support.waiting import wait_for


def phase(agent: Agent, id: str) -> str:
    return agent.command(id).get("phase", "")


def warned(agent: Agent, id: str) -> list[str]:
    return agent.command(id).get("warnings", [])


def cancel(agent: Agent, id: str) -> dict:
    reply = agent.delete(f"/v1/commands/{id}")
    assert reply.status == 202, reply
    return agent.command(id, wait=True)


# ---- locks


def test_the_second_on_one_lock_is_refused_with_the_words_ironic_knows(agent: Agent, gate: Gate):
    first = agent.post("lock.one", {"thing": "sda", "until": str(gate)}, wait=False)
    reply = agent.send("lock.one", {"thing": "sda"})
    assert reply.status == 409
    assert reply.problem["faultstring"] == "Agent is busy: executing command one"
    assert agent.request("POST", "/v1/methods/lock.one", b'{"thing": "sda"}').status == 409
    assert agent.post("lock.one", {"thing": "sdb"})["command_status"] == "SUCCEEDED"
    gate.release()
    agent.command(first["id"], wait=True)
    assert agent.post("lock.one", {"thing": "sda"})["command_status"] == "SUCCEEDED"


def test_reads_run_beside_a_running_destroy(agent: Agent, gate: Gate):
    first = agent.post("lock.one", {"thing": "sda", "until": str(gate)}, wait=False)
    for _ in range(5):
        assert agent.post("lock.none")["command_status"] == "SUCCEEDED"
        assert agent.command(first["id"])["command_status"] == "RUNNING"
    gate.release()
    agent.command(first["id"], wait=True)


def test_the_node_lock_conflicts_with_every_other(agent: Agent, gate: Gate):
    node = agent.post("lock.node", {"until": str(gate)}, wait=False)
    assert agent.send("lock.one", {"thing": "sda"}).status == 409
    assert agent.send("lock.node", {}).status == 409
    assert agent.post("lock.none")["command_status"] == "SUCCEEDED"
    gate.release(1)
    agent.command(node["id"], wait=True)
    disk = agent.post("lock.one", {"thing": "sda", "until": str(gate)}, wait=False)
    reply = agent.send("lock.node", {})
    assert reply.problem["faultstring"] == "Agent is busy: executing command one"
    gate.release()
    agent.command(disk["id"], wait=True)


def test_a_refused_command_leaves_no_trace(agent: Agent, gate: Gate):
    first = agent.post("lock.one", {"thing": "sda", "until": str(gate)}, wait=False)
    agent.send("lock.one", {"thing": "sda"}, id="refused-one")
    assert agent.commands()[-1]["id"] == first["id"]
    assert agent.request("GET", "/v1/commands/refused-one").status == 404
    gate.release()
    agent.command(first["id"], wait=True)
    assert agent.post("lock.one", {"thing": "sda"}, id="refused-one")["command_status"] == "SUCCEEDED"


# ---- cancel


def test_cancel_says_how_far_it_came(agent: Agent):
    id = agent.post("stop.polite", wait=False)["id"]
    wait_for(lambda: agent.command(id).get("progress", {}).get("done", 0) >= 2, "some progress")
    error = cancel(agent, id)["command_error"]
    assert (error["type"], error["code"]) == ("Cancelled", 409)
    assert "of 1000" in error["message"]
    assert "stopped after" in error["message"]


def test_cancel_of_an_ended_or_unknown_command(agent: Agent):
    done = agent.post("lock.none")
    assert agent.delete(f"/v1/commands/{done['id']}").problem["code"] == "already_ended"
    assert agent.delete("/v1/commands/nobody").status == 404


def test_cancel_twice_is_harmless(agent: Agent):
    id = agent.post("bad.ignores_term", wait=False)["id"]
    for _ in range(3):
        agent.delete(f"/v1/commands/{id}")
    assert agent.command(id, wait=True)["command_error"]["type"] == "Cancelled"


def test_work_that_was_finished_all_the_same_counts(agent: Agent):
    id = agent.post("stop.finishes", wait=False)["id"]
    wait_for(lambda: warned(agent, id), "it is ready")
    ended = cancel(agent, id)
    assert (ended["command_status"], ended["command_result"]) == ("SUCCEEDED", {"late": True})
    assert any("asked to stop" in text for text in ended["warnings"])


def test_a_manifest_may_forbid_cancel_but_not_the_time_limit(agent: Agent, gate: Gate):
    id = agent.post("stop.never", {"until": str(gate)}, wait=False)["id"]
    reply = agent.delete(f"/v1/commands/{id}")
    assert (reply.status, reply.problem["code"]) == (409, "not_cancellable")
    assert "manifest" in reply.problem["message"]
    gate.release(1)
    assert agent.command(id, wait=True)["command_status"] == "SUCCEEDED"
    late = agent.post("stop.never", {"until": str(gate)}, timeout_s=0.3)
    assert late["command_error"]["type"] == "Timeout"


def test_cancel_inside_a_critical_section_is_refused(agent: Agent, gate: Gate):
    id = agent.post("stop.critical", {"until": str(gate)}, wait=False)["id"]
    wait_for(lambda: agent.command(id).get("critical"), "the critical section")
    reply = agent.delete(f"/v1/commands/{id}")
    assert reply.status == 409
    assert "critical section" in reply.problem["message"]
    gate.release()
    ended = agent.command(id, wait=True)
    assert ended["command_result"] == {"flashed": True}
    assert "critical" not in ended


def critical(agent: Agent, gate: Gate, limit_s: float) -> str:
    """The id of a command in its critical section, with a time limit; a busy machine gets a longer one."""
    id = agent.post("stop.critical", {"until": str(gate), "then": 100}, wait=False, timeout_s=limit_s)["id"]
    wait_for(lambda: (agent.state / f"c/{id}/stream").exists(), "its warning, or that it was stopped")
    inside = wait_for(lambda: (one := agent.command(id)).get("critical") or one["command_error"], "one or the other")
    return id if inside is True else critical(agent, gate, limit_s * 4)


def test_the_time_limit_waits_for_the_end_of_a_critical_section(agent: Agent, gate: Gate):
    id = critical(agent, gate, 0.3)
    told = agent.state / f"c/{id}/stream"
    wait_for(lambda: "waits_for_critical_section" in told.read_text(), "the time limit")
    assert agent.command(id)["command_status"] == "RUNNING"
    gate.release()
    ended = agent.command(id, wait=True)
    assert ended["command_error"]["type"] == "Timeout"
    states = [data["state"] for event, data in agent.events(id) if event == "state"]
    assert states[:2] == ["waits_for_critical_section", "terminating"]


# ---- time limits


def test_a_request_shortens_the_time_limit_and_never_lengthens_it(agent: Agent, gate: Gate):
    short = agent.post("stop.never", {"until": str(gate)}, timeout_s=0.2)
    assert "within 0.2 s" in short["command_error"]["message"]
    long = agent.post("bad.never_ends", timeout_s=1000)
    assert "within 0.5 s" in long["command_error"]["message"]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "1e999"])
def test_a_time_limit_that_is_none_is_refused(agent: Agent, text):
    reply = agent.send("lock.none", {}, timeout_s=text)
    assert (reply.status, reply.problem["code"]) == (400, "timeout_invalid")


# ---- cleanup and plan


def test_cleanup_is_called_after_a_kill_with_the_same_request(agent: Agent, tmp_path: Path):
    notes = tmp_path / "notes"
    id = agent.post("stop.cleans_up", {"notes": str(notes)}, wait=False)["id"]
    wait_for(lambda: notes.exists() and notes.read_text(), "it runs")
    ended = cancel(agent, id)
    assert ended["command_error"]["type"] == "Cancelled"
    assert ended["warnings"] == ["cleaned"]
    run, cleanup = notes.read_text().splitlines()
    action, _, rest = run.partition(" ")
    request, _, deadline = rest.rpartition(" ")
    assert (action, deadline.isdigit()) == ("run", True)
    assert cleanup == f"cleanup {request} none"


def test_cleanup_that_fails_adds_a_warning(agent: Agent, tmp_path: Path):
    ended = agent.post("stop.cleans_up", {"notes": str(tmp_path / "notes"), "status": 3}, timeout_s=0.3)
    assert ended["command_error"]["type"] == "Timeout"
    assert any("cleanup ended with 3" in text for text in ended["warnings"])


@pytest.mark.parametrize("during", ["run", "cleanup"])
def test_cleanup_survives_the_death_of_the_runner(fresh_agent: FreshAgent, tmp_path: Path, gate: Gate, during):
    agent = fresh_agent()
    notes = tmp_path / "notes"
    # With less time to run, a busy machine would end it before it has noted anything.
    limit_s = {"run": 2, "cleanup": 0.3}[during]
    id = agent.post("stop.cleans_up", {"notes": str(notes), "until": str(gate)}, wait=False, timeout_s=limit_s)["id"]
    wait_for(lambda: notes.exists() and {during, "cleanup"} & set(notes.read_text().split()), "it has come so far")
    agent.kill("runner")
    gate.release()
    ended = agent.ended(id)
    assert ended["command_error"]["type"] == "Timeout"
    assert "cleaned" in ended["warnings"]


def test_plan_changes_nothing_and_takes_no_lock(agent: Agent, drop: Drop, gate: Gate):
    script = '#!/bin/sh\nprintf \'"%s"\' "$AGENT_ACTION"\n'
    drop("dropped.plans", script, effects="destroy", supports=["plan"])
    node = agent.post("lock.node", {"until": str(gate)}, wait=False)
    assert agent.send("dropped.plans", {}).status == 409
    assert agent.post("dropped.plans", plan=True)["command_result"] == "plan"
    reply = agent.send("lock.none", {}, plan=True)
    assert (reply.status, reply.problem["code"]) == (400, "action_unsupported")
    gate.release()
    agent.command(node["id"], wait=True)
