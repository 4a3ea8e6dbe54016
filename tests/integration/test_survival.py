"""Nothing running is lost when the agent is: SIGKILL to each of its processes while a plugin works."""

import os
import signal
import socket
import struct
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.agent import Agent, FreshAgent
from tests.support.gate import Gate
from tests.support.waiting import HANG_S, wait_for

LANGUAGES = ("work.bash", "work.sh", "work.python")


@pytest.fixture
def runs(memory_dir: Path) -> Path:
    """Every plugin of `work.*` writes its command's id here, once for each time it is started."""
    path = memory_dir / f"runs-{uuid.uuid4().hex}"
    path.touch()
    return path


def wait_started(runs: Path, count: int = 1) -> None:
    wait_for(lambda: len(runs.read_text().split()) >= count, f"{count} plugins have begun")


def in_background(function: Callable[[], Any]) -> Callable[[], Any]:
    """Call it in a thread; calling what is returned gives its result."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()), daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(HANG_S)
        assert result, "the waiting client got no answer"
        return result[0]

    return join


def assert_right(command: dict, n: int) -> None:
    assert command["command_status"] == "SUCCEEDED", command
    assert command["command_result"] == {"square": n * n}


@pytest.mark.parametrize("victims", [("front",), ("runner",), ("runner", "front")])
def test_a_plugin_outlives_the_agents_processes(fresh_agent: FreshAgent, runs: Path, gate: Gate, victims):
    agent = fresh_agent()
    before = agent.pids
    clients = {
        name: in_background(
            lambda name=name: agent.post_until_answered(
                name, {"n": 7, "until": str(gate), "runs": str(runs)}, id=name.replace(".", "-")
            )
        )
        for name in LANGUAGES
    }
    wait_started(runs, 3)
    plugins = processes.children(before["runner"])
    agent.kill(*victims)
    wait_for(lambda: set(agent.pids) == set(before), "every process is there again")
    after = agent.pids
    assert {role for role in before if before[role] != after[role]} >= set(victims)
    assert before["supervisor"] == after["supervisor"]
    assert all(processes.alive(pid) for pid in plugins), "a plugin was disturbed"
    gate.release()
    for name, answer in clients.items():
        assert_right(answer(), 7)
        assert_right(agent.command(name.replace(".", "-")), 7)
    assert sorted(runs.read_text().split()) == sorted(name.replace(".", "-") for name in LANGUAGES), "run twice"


def test_a_plugin_outlives_the_supervisor_and_the_next_agent_has_its_result(fresh_agent: FreshAgent, runs, gate: Gate):
    agent = fresh_agent()
    for name in LANGUAGES:
        agent.post(name, {"n": 9, "until": str(gate), "runs": str(runs)}, wait=False, id=name.replace(".", "-"))
    wait_started(runs, 3)
    plugins = processes.children(agent.pids["runner"])
    agent.kill("supervisor")
    agent.start()
    assert all(processes.alive(pid) for pid in plugins), "a plugin was disturbed"
    gate.release()
    for name in LANGUAGES:
        assert_right(agent.ended(name.replace(".", "-")), 9)
    assert len(runs.read_text().split()) == 3
    wait_for(lambda: set(agent.pids) == {"supervisor", "runner", "front"}, "one agent, complete")
    assert_right(agent.post("work.bash", {"n": 2, "runs": str(runs)}), 2)


def test_supervisor_and_runner_killed_together_never_guess(fresh_agent: FreshAgent, runs: Path, gate: Gate):
    """Nobody saw how the plugins ended: the agent says so."""
    agent = fresh_agent()
    for name in LANGUAGES:
        agent.post(name, {"n": 5, "until": str(gate), "runs": str(runs)}, wait=False, id=name.replace(".", "-"))
    wait_started(runs, 3)
    plugins = processes.children(agent.pids["runner"])
    agent.kill("supervisor", "runner")
    agent.start()
    assert all(processes.alive(plugin) for plugin in plugins), "a plugin was disturbed"
    assert {agent.command(name.replace(".", "-"))["command_status"] for name in LANGUAGES} == {"RUNNING"}
    gate.release()
    for name in LANGUAGES:
        ended = agent.ended(name.replace(".", "-"))
        if ended["command_status"] == "FAILED":
            assert ended["command_error"]["type"] == "OutcomeUnknown"
            assert "nobody saw" in ended["command_error"]["message"]
        else:
            assert_right(ended, 5)
    assert not any(processes.alive(plugin) for plugin in plugins), "an end was reported before it was there"
    assert sorted(runs.read_text().split()) == sorted(name.replace(".", "-") for name in LANGUAGES)


def test_supervisor_and_runner_killed_together_keep_the_log(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent()
    gate.release(1)
    agent.post("test.tells", {"until": str(gate)}, wait=False, id="teller")
    wait_for(lambda: "step 2" in agent.log("teller"), "the log has begun")
    agent.kill("supervisor", "runner")
    gate.release()
    agent.start()
    agent.ended("teller")
    assert "step 3" in agent.log("teller")


def test_what_ended_while_no_runner_was_there_is_reported_right(fresh_agent: FreshAgent, runs: Path, gate: Gate):
    """The supervisor alone sees these ends: it is held in SIGSTOP until all of them are over."""
    agent = fresh_agent()
    for n in range(6):
        name = LANGUAGES[n % 3]
        agent.post(name, {"n": n, "until": str(gate), "runs": str(runs)}, wait=False, id=f"c{n}")
    agent.post("bad.fails_silently", wait=True)
    wait_started(runs, 6)
    plugins = processes.children(agent.pids["runner"])
    supervisor = agent.pids["supervisor"]
    os.kill(supervisor, signal.SIGSTOP)
    agent.kill("runner")
    gate.release()
    wait_for(lambda: not any(processes.alive(pid) for pid in plugins), "all plugins are over")
    os.kill(supervisor, signal.SIGCONT)
    for n in range(6):
        assert_right(agent.ended(f"c{n}"), n)
    assert len(runs.read_text().split()) == 6


def test_requests_that_come_while_no_runner_is_there_are_answered_by_the_next(fresh_agent: FreshAgent):
    agent = fresh_agent()
    done = agent.post("lock.none")
    supervisor = agent.pids["supervisor"]
    os.kill(supervisor, signal.SIGSTOP)
    agent.kill("runner")
    asked = [
        in_background(lambda: agent.ended(done["id"])),  # the runner may have died before it heard the verdict
        in_background(lambda: agent.post("lock.none", wait=False)),
        in_background(lambda: agent.post("lock.none")),
        in_background(agent.commands),
        in_background(lambda: agent.delete(f"/v1/commands/{done['id']}").status),
    ]
    assert agent.get("/v1/status")
    assert agent.get("/v1/methods")
    os.kill(supervisor, signal.SIGCONT)
    answers = [answer() for answer in asked]
    assert answers[0] == done
    assert answers[4] == 409


def test_a_cancelled_command_stays_cancelled_over_a_restart(fresh_agent: FreshAgent):
    """SIGTERM was sent and ignored: the next runner still sends SIGKILL when the grace is over."""
    agent = fresh_agent()
    id = agent.post("bad.ignores_term", wait=False)["id"]
    wait_for(lambda: agent.log(id), "it ignores SIGTERM")
    agent.delete(f"/v1/commands/{id}")
    agent.kill("runner")
    assert agent.ended(id)["command_error"]["type"] == "Cancelled"


def test_locks_hold_over_a_restart(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent()
    held = agent.post("lock.one", {"thing": "disk", "until": str(gate)}, wait=False)
    agent.kill("runner")
    wait_for(lambda: "runner" in agent.pids, "a new runner")
    assert agent.send("lock.one", {"thing": "disk"}).status == 409
    assert agent.send("lock.one", {"thing": "other"}).status == 200
    gate.release()
    assert agent.ended(held["id"])["command_status"] == "SUCCEEDED"
    assert agent.post("lock.one", {"thing": "disk"})["command_status"] == "SUCCEEDED"


def test_a_critical_section_is_remembered_over_a_restart(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent()
    command = agent.post("stop.critical", {"until": str(gate)}, wait=False)
    wait_for(lambda: agent.command(command["id"]).get("critical"), "the critical section has begun")
    agent.kill("runner")
    wait_for(lambda: agent.command(command["id"]).get("critical"), "the new runner knows")
    assert agent.delete(f"/v1/commands/{command['id']}").status == 409
    gate.release()
    ended = agent.ended(command["id"])
    assert ended["command_result"] == {"flashed": True}
    assert ended["warnings"] == ["inside"]


def test_events_are_told_once_over_a_restart(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent()
    gate.release(1)
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    wait_for(lambda: agent.command(id).get("progress", {}).get("done") == 2, "the second step")
    agent.kill("runner")
    wait_for(lambda: agent.answers(f"/v1/commands/{id}"), "a new runner")
    assert agent.command(id)["progress"]["done"] == 2
    gate.release()
    agent.ended(id)
    told = [data["done"] for event, data in agent.events(id) if event == "progress"]
    assert told == [1, 2, 3]
    text = agent.request("GET", f"/v1/commands/{id}/events").body.decode()
    numbers = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
    assert numbers == sorted(set(numbers))


def test_a_stopped_agent_leaves_its_plugins_alone(fresh_agent: FreshAgent, runs: Path, gate: Gate):
    """SIGTERM to the supervisor ends the agent, not the flash tool that runs."""
    agent = fresh_agent()
    agent.post("work.sh", {"n": 3, "until": str(gate), "runs": str(runs)}, wait=False, id="flash")
    wait_started(runs)
    [plugin] = processes.children(agent.pids["runner"])
    agent.stop()
    agent.start()
    assert processes.alive(plugin)
    gate.release()
    ended = agent.ended("flash")
    assert not processes.alive(plugin)
    assert ended["command_status"] == "SUCCEEDED" or ended["command_error"]["type"] == "OutcomeUnknown"


def test_history_and_results_are_there_after_a_restart(fresh_agent: FreshAgent, runs: Path):
    agent = fresh_agent()
    done = agent.post("work.bash", {"n": 4, "runs": str(runs)})
    failed = agent.post("bad.says_nothing")
    agent.stop()
    agent.start()
    assert [agent.command(item["id"]) for item in (done, failed)] == [done, failed]
    assert agent.commands() == [done, failed]
    assert runs.read_text().split() == [done["id"]]


HANGS = """
import sys
from agent_router.api import server
from agent_router.commands import objects

def hang(*_):
    while True:
        pass

server.HANG_S, objects.call_from_body = 2, hang
sys.argv = ["agent-router", *sys.argv[4:]]
from agent_router.cli import main
main()
"""


def test_a_front_that_hangs_is_ended_by_its_own_alarm(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent(start=False)
    agent.prefix = (sys.executable, "-c", HANGS)
    agent.start()
    before = agent.pids
    reply = agent.request("POST", "/v1/methods/stop.never?wait=false", b'{"until": "%s"}' % bytes(gate.path))
    with agent.connect() as sock:
        sock.sendall(b"POST /v1/commands/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        wait_for(lambda: agent.pids.get("front", before["front"]) != before["front"], "another front is there")
    gate.release()
    assert agent.command(reply.json["id"], wait=True)["command_status"] == "SUCCEEDED"
    assert agent.pids | {"front": 0} == before | {"front": 0}, "and nothing else was disturbed"


def test_a_process_that_is_none_of_the_agent_gives_no_verdict(agent: Agent, gate: Gate):
    """Not for what runs, nor later: it is hung up on, and the agent's own verdict counts."""
    runner = agent.pids["runner"]
    id = agent.post("stop.never", {"until": str(gate)}, wait=False)["id"]
    record = b'{"id":"%s","started_at":1,"command_name":"x","command_status":"SUCCEEDED"}' % id.encode()
    for text, body in ((b'{"op":"judge"}', b""), (b'{"op":"judged","id":"%s"}' % id.encode(), record)):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(HANG_S)
            stranger.connect(str(agent.state / "runner.sock"))
            stranger.sendall(struct.pack("!II", len(text), len(body)) + text + body)
            assert stranger.recv(100) == b""
    gate.release()
    assert agent.command(id, wait=True)["name"] == "stop.never"
    assert agent.post("lock.none")["command_status"] == "SUCCEEDED"
    assert agent.pids["runner"] == runner
