"""What Ironic 39's conductor and ironic-python-agent's clients expect of an agent's command API, fact by fact."""

import json
import uuid
from pathlib import Path

import pytest

from tests.support.agent import Agent, Drop, FreshAgent
from tests.support.gate import Gate
from tests.support.waiting import wait_for

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
TOKEN = "a-token-of-Ironic-with-43-characters-in-it-"
# What the conductor sends with wait=false and reads at once, or with wait=true and a limit of 60 s.
SYNCHRONOUS = {"standby.get_partition_uuids", "standby.sync", "system.lockdown", "log.collect_system_logs",
               "rescue.finalize_rescue", "poll.get_hardware_info", "poll.set_node_info"}  # fmt: skip
ASYNCHRONOUS = {"image.install_bootloader", "standby.power_off", "standby.run_image", "standby.prepare_image",
                "flow.start_flow"}  # fmt: skip
CONDUCTOR_PATIENCE_S = 60


@pytest.mark.parametrize("name", sorted(SYNCHRONOUS | ASYNCHRONOUS))
def test_ironics_commands_answer_with_an_object_and_in_time(name):
    manifest = json.loads((SCHEMAS / f"{name}.json").read_text())
    assert manifest["response"]["type"] == "object"
    assert manifest.get("synchronous", False) == (name in SYNCHRONOUS)
    # The conductor does not send the commands called poll.*.
    assert name in ASYNCHRONOUS or name.startswith("poll.") or manifest["timeout_s"] < CONDUCTOR_PATIENCE_S


def test_a_command_object_has_the_keys_that_are_read(agent: Agent):
    done, failed = agent.post("test.echo", {"text": "x"}), agent.post("bad.fails_silently")
    for command in (done, failed):
        assert str(uuid.UUID(command["id"])) == command["id"]
        assert {"command_name", "command_status", "command_error", "command_result"} <= set(command)
        assert "command_params" not in command, "they may hold secrets"
    assert (done["command_name"], done["command_status"], done["command_error"]) == ("echo", "SUCCEEDED", None)
    assert (failed["command_status"], failed["command_result"]) == ("FAILED", None)
    assert set(failed["command_error"]) >= {"type", "code", "message", "details"}
    assert failed["command_error"]["type"] != "TypeError", "the conductor takes that for an agent of an older release"


def test_wait_false_answers_running_and_the_list_tells_the_end(agent: Agent, gate: Gate):
    params = {"thing": "x", "until": str(gate)}
    begun = agent.post("lock.one", params, wait=False)
    assert (begun["command_status"], begun["command_error"], begun["command_result"]) == ("RUNNING", None, None)
    assert agent.commands()[-1]["id"] == begun["id"]
    gate.release()
    wait_for(lambda: agent.commands()[-1]["command_status"] != "RUNNING", "its end")
    ended = agent.commands()[-1]
    assert (ended["id"], ended["command_status"], ended["command_result"]) == (begun["id"], "SUCCEEDED", {})
    assert agent.post("lock.one", params, wait=True)["command_status"] == "SUCCEEDED"


def test_a_synchronous_command_answers_at_its_end_whatever_wait_says(agent: Agent, drop: Drop):
    drop("vendor.sync", '#!/bin/sh\nsleep 0.1\necho "{}"\n', synchronous=True)
    for query in ({"wait": False}, {"wait": True}):
        assert agent.post("vendor.sync", **query)["command_status"] == "SUCCEEDED"


def test_the_newest_command_is_the_last_of_the_list(agent: Agent, gate: Gate):
    slow = agent.post("lock.one", {"thing": "x", "until": str(gate)}, wait=False)["id"]
    quick = agent.post("lock.none")["id"]
    assert [one["id"] for one in agent.commands()][-2:] == [slow, quick]
    gate.release()
    agent.ended(slow)
    assert [one["id"] for one in agent.commands()][-2:] == [slow, quick], "in order of the starts"


def test_a_repeated_step_is_busy_in_the_words_that_the_conductor_looks_for(agent: Agent, drop: Drop, gate: Gate):
    drop(
        "vendor.step",
        f'#!/bin/sh\nread -r _ <{gate}\necho "{{}}"\n',
        steps=[{"interface": "deploy", "step": "vendor", "phases": ["clean"]}],
    )
    params = {"step": {"interface": "deploy", "step": "vendor"}, "node": {"uuid": "u"}, "ports": {}}
    first = agent.post("clean.execute_clean_step", params, wait=False)
    assert first["command_name"] == "execute_clean_step"
    reply = agent.send("clean.execute_clean_step", params)
    assert (reply.status, reply.problem["faultstring"]) == (409, "Agent is busy: executing command execute_clean_step")
    gate.release()
    result = agent.command(first["id"], wait=True)["command_result"]
    assert result == {"clean_result": {}, "clean_step": params["step"]}, "the conductor looks for its step"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/commands/", b"{", 400),
        ("POST", "/v1/commands/", b'{"name": "lock.none"}', 400),
        ("POST", "/v1/commands/", b'{"params": {}}', 400),
        ("POST", "/v1/commands/", b'{"name": "nodot", "params": {}}', 400),
        ("POST", "/v1/commands/", b'{"name": "lock.one", "params": {}}', 400),
        ("POST", "/v1/commands/", b'{"name": "no.such", "params": {}}', 404),
        ("GET", "/v1/commands/no-such-id", None, 404),
        ("PUT", "/v1/commands/", b"{}", 405),
    ],
)
def test_errors_have_a_fault_string(agent: Agent, method, path, body, status):
    reply = agent.request(method, path, body)
    assert (reply.status, reply.json["faultcode"]) == (status, "Client")
    assert reply.problem["faultstring"]
    assert "agent_token" not in reply.problem["faultstring"], "the conductor would blame the token"


def test_the_token_is_a_query_parameter(fresh_agent: FreshAgent):
    agent = fresh_agent(f"--token={TOKEN}")
    for path in ("/v1/commands/", "/v1/commands"):
        assert agent.request("GET", f"{path}?agent_token={TOKEN}", Authorization="").status == 200
    refused = agent.request("GET", "/v1/commands/?agent_token=wrong", Authorization="")
    assert (refused.status, refused.json["faultcode"]) == (401, "Client")
    assert "agent_token" not in refused.problem["faultstring"]
    status = agent.request("GET", "/v1/status", Authorization="").json
    assert (type(status["started_at"]), type(status["version"])) == (float, str)


def test_other_results_than_objects_are_passed_on_as_they_are(agent: Agent, drop: Drop):
    """ironic-python-agent wraps a text; what a vendor's schema promises is what a client gets here."""
    drop("vendor.text", "#!/bin/sh\necho '\"done\"'\n", response={"type": "string"})
    assert agent.post("vendor.text")["command_result"] == "done"
