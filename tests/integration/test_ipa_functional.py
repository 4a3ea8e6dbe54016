"""What the functional test of ironic-python-agent asks of an agent, asked of ours, with a token as short as there."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent
from tests.support.certificates import client_context
from tests.support.waiting import HANG_S

TOKEN = "678123"
NODE = {"uuid": "1", "properties": {}, "instance_info": {}}
STEPS = {"name": "clean.get_clean_steps", "params": {"node": NODE, "ports": {}}}

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module", params=["http", "https"])
def ask(
    request: pytest.FixtureRequest, memory_dir: Path, test_plugins: tuple[str, str], certificate: tuple[Path, Path]
) -> Iterator[Ask]:
    """(status, body) of a request to an agent, as a client has it that follows redirects."""
    options, tls = [f"--token={TOKEN}"], None
    if request.param == "https":
        cert, key = certificate
        options += [f"--cert={cert}", f"--key={key}"]
        tls = client_context(cert)
    agent = Agent(memory_dir / request.param, *test_plugins, *options, tls=tls).start()

    def asked(path: str, body: Any = None, token: str = TOKEN) -> tuple[int, Any]:
        query = f"?agent_token={token}" if token else ""
        url = f"{request.param}://localhost:{agent.port}/v1/{path}{query}"
        data = None if body is None else json.dumps(body).encode()
        sent = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(sent, timeout=HANG_S, context=tls) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    yield asked
    agent.stop()
    agent.kill_all()


def test_a_client_without_the_token_is_refused(ask: Ask):
    for path in ("commands", "commands/"):
        assert [ask(path, token=token)[0] for token in ("", TOKEN[:-1], TOKEN)] == [401, 401, 200]


def test_its_commands_from_the_first_to_one_that_does_not_exist(ask: Ask):
    assert ask("commands") == (200, {"commands": []})
    status, begun = ask("commands/", STEPS)
    assert (status, begun["command_name"], begun["command_error"]) == (200, "get_clean_steps", None)
    _, listed = ask("commands")
    assert [(one["id"], one["command_name"]) for one in listed["commands"]] == [(begun["id"], "get_clean_steps")]
    assert ask(f"commands/{begun['id']}") == (200, listed["commands"][0])
    assert listed["commands"][0]["command_result"]["clean_steps"]["agent-router"]
    assert ask("commands/", {"name": "bad_extension.fake_command", "params": {}})[0] == 404
    assert ask("commands") == (200, listed), "a refused request is no command"
