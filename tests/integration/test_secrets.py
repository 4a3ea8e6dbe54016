"""A secret (writeOnly) is given to the plugin on standard input and shown to nobody."""

import json
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import Agent, Drop, Reply
from tests.support.waiting import wait_for

SECRETS = {
    "plain": "hunter2-swordfish",
    "quotes": "a\"b\\c'd e/f",
    "unicode": "pässwörd-日本-🔑",
    "pattern": "a.*[b]$(c)",
    "newline": "first\nsecond",
}
every_secret = pytest.mark.parametrize("password", SECRETS.values(), ids=SECRETS.keys())


def forms(secret: str) -> list[str]:
    return [secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]]


def assert_hidden(text: str, secret: str) -> None:
    for form in forms(secret):
        assert form not in text


def everything_shown(agent: Agent, id: str) -> str:
    paths = [f"/v1/commands/{id}", f"/v1/commands/{id}/log", f"/v1/commands/{id}/events", "/v1/commands/"]
    return "\n".join(agent.request("GET", path).body.decode() for path in paths)


def everything_kept(agent: Agent) -> str:
    """All files of the state directory, the agent's output, and the command lines of its processes."""
    files = [path for path in agent.state.rglob("*") if path.is_file()]
    texts = [path.read_bytes() for path in (*files, agent.output)]
    texts += [processes.read(pid, "cmdline") + processes.read(pid, "environ") for pid in agent.pids.values()]
    return b"\n".join(texts).decode(errors="replace")


@every_secret
@pytest.mark.parametrize("fail", [False, True])
def test_a_secret_is_masked_wherever_a_plugin_puts_it(agent: Agent, password, fail):
    params = {"password": password, "pin": 748291, "nested": {"key": "top secret"}, "fail": fail, "user": "carol"}
    command = agent.post("test.secret", params)
    assert command["command_status"] == ("FAILED" if fail else "SUCCEEDED")
    shown = json.dumps(command) + everything_shown(agent, command["id"])
    kept = everything_kept(agent)
    for secret in (password, "748291", "top secret"):
        assert_hidden(shown, secret)
        assert_hidden(kept, secret)
    assert "carol" in shown
    assert "***" in agent.log(command["id"])
    if not fail:
        assert command["command_result"]["request"]["password"] == "***"


@every_secret
def test_a_secret_is_masked_while_the_command_runs(agent: Agent, drop, password):
    script = """#!/bin/bash
read -r -d '' all
echo "$all" >&2
echo "{\\"warn\\": \\"x\\", \\"all\\": $all}" >&3
sleep 1000
"""
    request = {"type": "object", "properties": {"password": {"type": "string", "writeOnly": True}}}
    drop("dropped.talks", script, request=request)
    id = agent.post("dropped.talks", {"password": password}, wait=False)["id"]
    wait_for(lambda: agent.log(id), "the log has begun")
    log = agent.request("GET", f"/v1/commands/{id}/log").body.decode()
    assert "***" in log
    assert_hidden(log, password)
    assert_hidden(agent.request("GET", f"/v1/commands/{id}").body.decode(), password)
    agent.delete(f"/v1/commands/{id}")
    agent.command(id, wait=True)
    assert_hidden(everything_shown(agent, id), password)


@pytest.mark.parametrize("probe", ["probe.warm", "probe.fresh"])
def test_a_secret_is_on_stdin_and_not_in_the_environment(agent: Agent, probe):
    """What the plugin prints is masked too, so its length tells."""
    seen = agent.post(probe, {"password": "hunter2-swordfish"})["command_result"]
    assert json.loads(seen["stdin"]) == {"password": "***"}
    assert "PARAM_password" not in seen["environ"]


def test_a_refused_request_does_not_repeat_its_secret(agent: Agent):
    def hidden(reply: Reply) -> None:
        assert reply.status == 400
        assert_hidden(reply.body.decode(), "Hunter2-swordfish")

    params = {"password": "fine-one", "nested": {"key": "Hunter2-swordfish"}}
    hidden(agent.send("test.secret", params))
    hidden(agent.request("POST", "/v1/methods/test.secret", json.dumps(params).encode()))
    hidden(agent.send("test.secret", {"password": ["Hunter2-swordfish"]}))
    # Longer than a message may be: what is left of it when the message is shortened is the secret's all the same.
    hidden(agent.send("test.secret", {**params, "nested": {"key": "Hunter2-swordfish" * 50}}))
    assert_hidden(everything_kept(agent), "Hunter2-swordfish")


def test_a_secret_is_masked_over_a_restart(fresh_agent, tmp_path: Path):
    agent = fresh_agent()
    params = {"password": "hunter2-swordfish", "user": "carol"}
    for victims in (("runner",), ("front",), ("runner", "front")):
        ended = agent.post("test.secret", params)
        agent.kill(*victims)
        assert agent.ended(ended["id"]) == ended
        wait_for(lambda ended=ended: not list(agent.state.glob(f"c/{ended['id']}/secrets")), "its files are closed")
        assert_hidden(everything_shown(agent, ended["id"]) + everything_kept(agent), "hunter2-swordfish")


LONG = "TOPSECRET-qwertzuiopasdfghjklyxcvbnm-8361940275"  # no part of it stands anywhere else
# Where each text is cut: excerpts after 500 characters, messages after 180 and before the last 100, warnings after
# 2,000, a log and an output at their limits.
LEAKS = {
    "log": "sys.stderr.write('x' * N + s + 'y' * 480); sys.exit(1)",
    "last line": "sys.stderr.write('q' * N + s); sys.exit(1)",
    "output": "print('z' * N + s); sys.exit(1)",
    "no json": "print('z' * N + s)",
    "half written": "sys.stderr.write('z' * N + s[:20]); sys.exit(1)",
    "wrong answer": "print(json.dumps({'a': 'w' * (N - 320) + s + 'v' * 300}))",
    "number": "print('1' * (N - 450) + r['pin'] + '.0e400')",
    "warning": "os.write(3, (json.dumps({'warn': 'u' * (N + 1500) + s}) + chr(10)).encode()); print('{}')",
    "progress": "os.write(3, (json.dumps({'done': 1, 'message': 'u' * N + s}) + chr(10)).encode()); time.sleep(60)",
    "error": "print(json.dumps({'error': {'code': s, 'message': 'm' * N + s, 'details': {s: s}}})); sys.exit(1)",
    "log limit": "sys.stderr.write('x' * ((1 << 17) - N % 37 - 4) + s + 'y' * (1 << 18)); time.sleep(60)",
    "output limit": "print('x' * ((1 << 7) - N % 37 - 4) + s + 'y' * 999, flush=True); time.sleep(60)",
}


@pytest.mark.parametrize("leak", LEAKS)
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(agent: Agent, drop: Drop, leak):
    pin = "8" * 9 + "7412369850"
    keys: dict = {"output_limit_mib": 1 / (1 << 13)} if leak == "output limit" else {}
    start = "#!/usr/bin/env python3\nimport json, os, sys, time\n"
    script = f"{start}r = json.load(sys.stdin)\ns, N = r['key'], r['n']\n{LEAKS[leak]}\n"
    secret = {"type": "string", "writeOnly": True}
    request = {"type": "object", "properties": {"key": secret, "pin": secret, "n": {"type": "integer"}}}
    drop(
        "leak.half", script, request=request, response={"properties": {"a": {"type": "integer"}}},
        log_limit_mib=1 / 8, timeout_s=0.5 if leak == "progress" else 30, grace_s=0.1, **keys,
    )  # fmt: skip
    for before in (470, 480, 490, 497):
        command = agent.post("leak.half", {"key": LONG, "pin": pin, "n": before})
        shown = json.dumps(command) + everything_shown(agent, command["id"])
        parts = [LONG[at : at + 6] for at in range(len(LONG) - 5)] + [pin[at : at + 6] for at in range(4, 14)]
        assert [part for part in parts if part in shown] == []
