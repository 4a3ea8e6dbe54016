"""The manifest key `closes`: after the answer the agent serves no more in this boot, whichever process is killed."""

import signal
import socket
import time

import pytest

from tests.support import processes
from tests.support.agent import Agent, FreshAgent, drop_into
from tests.support.gate import Gate
from tests.support.waiting import HANG_S, wait_for

ENDS = '#!/bin/sh\necho "{}"\n'
LATE_END = '#!/bin/sh\n: >"$AGENT_STATE_DIR/began"\nread -r _ <{gate}\necho "{{}}"\n'


@pytest.fixture
def closing(fresh_agent: FreshAgent):
    """An agent with test.closes, which ends the serving, and other methods."""

    def make(script: str = ENDS, **keys) -> Agent:
        agent = fresh_agent()
        drop_into(agent, "test.closes", script, effects="change", locks=[], synchronous=True, closes="agent", **keys)
        return agent

    return make


def refused(agent: Agent) -> bool:
    try:
        socket.create_connection(("127.0.0.1", agent.port), HANG_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


def rests(agent: Agent) -> None:
    """Nobody listens, nothing but the sleeping supervisor is left, and it says why."""
    wait_for(lambda: refused(agent), "connections are refused")
    resting = str(agent._process.pid)
    wait_for(lambda: [one.split()[0] for one in agent.leftovers()] == [resting], "runner and front are gone")
    said = "stopped by test.closes until the next boot"
    wait_for(lambda: said in agent.output.read_text(), "it says why")


def test_the_answer_comes_first_then_the_end(closing):
    agent = closing()
    command = agent.post("test.closes", wait=False)
    assert command["command_status"] == "SUCCEEDED"
    assert (agent.state / "closed").read_text() == "agent test.closes\n"
    assert agent.commands()[-1]["id"] == command["id"], "the list can be read for a moment"
    rests(agent)
    time.sleep(1)  # nothing happens
    assert refused(agent)


def test_a_new_agent_of_the_same_boot_does_not_serve_either(closing):
    agent = closing()
    agent.post("test.closes")
    rests(agent)
    agent.stop()
    agent.output.write_text("")
    agent.launch()
    wait_for(lambda: "stopped by" in agent.output.read_text(), "it says that it rests")
    time.sleep(0.5)  # nothing happens
    assert "http" not in agent.output.read_text(), "it did not listen even for a moment"
    rests(agent)


def test_one_that_failed_ends_nothing(closing):
    agent = closing("#!/bin/sh\nexit 3\n")
    assert agent.post("test.closes")["command_status"] == "FAILED"
    time.sleep(1.5)  # nothing happens
    assert agent.post("lock.none")["command_status"] == "SUCCEEDED"
    assert not (agent.state / "closed").exists()


def test_a_response_against_the_schema_ends_nothing(closing):
    agent = closing(response={"type": "array"})
    assert agent.post("test.closes")["command_error"]["type"] == "InvalidResponse"
    assert not (agent.state / "closed").exists()


def test_what_else_comes_in_the_last_moment_is_refused(closing):
    agent = closing()
    agent.post("test.closes")
    reply = agent.send("lock.none")
    assert (reply.status, reply.problem["code"]) == (503, "closing")
    assert agent.post("test.closes")["command_status"] == "SUCCEEDED", "its answer may have been lost"
    rests(agent)


@pytest.mark.parametrize("victims", [("front",), ("runner",), ("runner", "front")])
def test_killed_after_the_verdict_it_ends_all_the_same(closing, victims):
    agent = closing()
    agent.post("test.closes")
    agent.kill(*victims)
    rests(agent)


def send_and_leave(agent: Agent) -> None:
    """Send test.closes as command `one`, see it begin, and wait for no answer."""
    body = b'{"name": "test.closes", "params": {}}'
    with agent.connect() as sock:
        sock.sendall(b"POST /v1/commands/?id=one HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        wait_for((agent.state / "began").exists, "the plugin runs")


def test_a_front_killed_before_the_verdict_lets_the_repeated_request_have_its_answer(closing, gate: Gate):
    agent = closing(LATE_END.format(gate=gate))
    pids = agent.pids
    send_and_leave(agent)
    processes.kill(pids["front"], signal.SIGKILL)
    gate.release()
    command = agent.post_until_answered("test.closes", id="one")
    assert command["command_status"] == "SUCCEEDED"
    rests(agent)


def test_a_killed_supervisor_is_followed_by_one_that_rests(closing):
    agent = closing()
    agent.post("test.closes")
    agent.kill("supervisor")
    agent.launch()
    rests(agent)


def test_all_killed_between_the_end_of_the_plugin_and_its_verdict(closing, gate: Gate):
    agent = closing(LATE_END.format(gate=gate))
    send_and_leave(agent)
    agent.kill("supervisor")
    gate.release()
    wait_for(lambda: len(agent.leftovers()) <= 2, "the plugin has ended")
    agent.launch()
    wait_for((agent.state / "closed").exists, "the next agent gives the verdict")
    rests(agent)
