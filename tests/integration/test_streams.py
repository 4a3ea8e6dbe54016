"""Log and events of a command, live: what a plugin says is there while it still runs."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.agent import Agent, server_sent
from tests.support.gate import Gate
from tests.support.waiting import HANG_S, wait_for


def follow(agent: Agent, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=HANG_S)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    assert response.status == 200
    return response


def lines(response: http.client.HTTPResponse) -> Iterator[str]:
    while line := response.readline():
        yield line.decode().rstrip("\n")


def test_the_log_is_followed_live_until_the_end(agent: Agent, gate: Gate):
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    with closing(follow(agent, f"/v1/commands/{id}/log?follow=true")) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        log = lines(response)
        for number in (1, 2, 3):
            assert next(log) == f"<6>step {number}"
            assert agent.command(id)["command_status"] == "RUNNING", "it was told live"
            gate.release(1)
        assert list(log) == ["the last line has no end"]
    assert agent.command(id)["command_status"] == "SUCCEEDED"
    assert agent.log(id).splitlines()[-1] == "the last line has no end"


def test_without_follow_the_log_so_far(agent: Agent, gate: Gate):
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    wait_for(lambda: agent.log(id) == "<6>step 1\n", "the first line")
    gate.release(3)
    agent.command(id, wait=True)
    assert agent.log(id).count("\n") == 4


def test_events_are_live_and_end_with_the_command(agent: Agent, gate: Gate):
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    with closing(follow(agent, f"/v1/commands/{id}/events")) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        told = server_sent(lines(response))
        for number in (1, 2, 3):
            event = next(told)
            assert (event["event"], event["id"]) == ("progress", str(number))
            data = json.loads(event["data"])
            assert abs(data.pop("time") - agent.command(id)["started_at"]) < 60
            assert data == {"done": number, "total": 3, "unit": "steps", "message": f"step {number}"}
            assert agent.command(id)["command_status"] == "RUNNING", "it was told live"
            gate.release(1)
        warning, end = list(told)
    assert (warning["event"], json.loads(warning["data"])["warn"]) == ("warning", "done")
    assert (end["event"], "id" in end) == ("end", False)
    assert json.loads(end["data"]) == agent.command(id)


def test_a_client_that_comes_back_gets_only_what_it_missed(agent: Agent, gate: Gate):
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    gate.release(3)
    agent.command(id, wait=True)
    for seen, expected in (("", [1, 2, 3, 4]), ("2", [3, 4]), ("4", []), ("99", []), ("x", [1, 2, 3, 4])):
        text = agent.request("GET", f"/v1/commands/{id}/events", **{"Last-Event-ID": seen}).body.decode()
        told = list(server_sent(text.splitlines()))
        assert [int(event["id"]) for event in told[:-1]] == expected, seen
        assert told[-1]["event"] == "end"


def test_the_command_object_shows_progress_and_warnings(agent: Agent, gate: Gate):
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    gate.release(1)
    progress = wait_for(lambda: agent.command(id).get("progress", {}).get("done") == 2, "the second step")
    assert progress
    gate.release(2)
    assert agent.command(id, wait=True)["warnings"] == ["done"]


def test_cancel_ends_those_who_follow(agent: Agent, gate: Gate):
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    with (
        closing(follow(agent, f"/v1/commands/{id}/events")) as events,
        closing(follow(agent, f"/v1/commands/{id}/log?follow=true")) as log,
    ):
        agent.delete(f"/v1/commands/{id}")
        told = [(event["event"], json.loads(event["data"])) for event in server_sent(lines(events))]
        assert ("state", "terminating") in [(event, data.get("state")) for event, data in told]
        assert told[-1][0] == "end"
        assert told[-1][1]["command_error"]["type"] == "Cancelled"
        assert next(lines(log)) == "<6>step 1"


def test_who_stops_following_costs_nothing(agent: Agent, gate: Gate):
    id = agent.post("test.tells", {"until": str(gate)}, wait=False)["id"]
    for _ in range(20):
        follow(agent, f"/v1/commands/{id}/events").close()
        follow(agent, f"/v1/commands/{id}/log?follow=true").close()
    gate.release(3)
    assert agent.command(id, wait=True)["command_status"] == "SUCCEEDED"
    threads = Path(f"/proc/{agent.pids['front']}/task")
    wait_for(lambda: len(list(threads.iterdir())) < 5, "the threads of those who left are over")


def test_unknown_commands_have_no_streams(agent: Agent):
    for what in ("log", "log?follow=true", "events"):
        assert agent.request("GET", f"/v1/commands/nobody/{what}").problem["code"] == "command_unknown"


@pytest.mark.parametrize("line", ['{"done": "x"}', '{"done": 1e400}', '{"done": NaN}', "[]", "nonsense", '{"warn": 5}'])
def test_events_that_are_none_hurt_nobody(agent: Agent, drop, line):
    drop("dropped.odd", f"#!/bin/bash\necho '{line}' >&3\necho '{{\"done\": 2}}' >&3\nsleep 0.1\necho '{{}}'\n")
    command = agent.post("dropped.odd")
    assert command["command_status"] == "SUCCEEDED", command
    told = agent.events(command["id"])
    assert [data["done"] for event, data in told if event == "progress"] == [2]
    assert told[-1][0] == "end"
