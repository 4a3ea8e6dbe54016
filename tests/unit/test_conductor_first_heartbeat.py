"""The whole agent when its first heartbeat arrives: it listens, it is idle, by the TLS and the certificate wanted."""

import contextlib
import json
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.support.heartbeat import BEAT, LOOKUP, NODE, TOKEN, node
from tests.support.waiting import HANG_S, wait_for

MANIFEST = {
    "protocol": 1, "title": "A slow inventory", "version": "1.0.0", "effects": "read",
    "request": {"type": "object"}, "response": {"type": "object"},
}  # fmt: skip
INVENTORY = """#!/bin/sh
sleep 1
echo '{"inventory": {"interfaces": []}}'
"""


class Conductor:
    """Calls back at the moment of a heartbeat, as the conductor does, and keeps what it saw."""

    def __init__(self, api):
        self.api, self.saw, self._answer = api, [], api.answer
        api.answer = self.answer

    def answer(self, asked):
        if asked.path.startswith("/v1/heartbeat/"):
            self.saw.append(self.look(asked.body))
        return self._answer(asked)

    def look(self, body):
        try:
            listed = self.ask(body, "/v1/commands/")
            steps = self.ask(body, "/v1/commands/", {"name": "clean.get_clean_steps", "params": {}})
            return [one["command_status"] for one in listed["commands"]], steps["command_status"]
        except (OSError, ssl.SSLError) as error:
            return str(error)

    def ask(self, body, path, command=None, most=ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cadata=body["agent_verify_ca"])
        context.maximum_version = most
        data = None if command is None else json.dumps(command).encode()
        wait = "" if command is None else "wait=true&"
        url = f"{body['callback_url']}{path}?{wait}agent_token={body['agent_token']}"
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=HANG_S, context=context) as answer:
            return json.load(answer)

    def beat(self):
        return next(one.body for one in self.api.at("POST") if "heartbeat" in one.path)


@pytest.fixture
def boot(ironic_api, tmp_path):
    """Start the agent with these kernel parameters; the conductor that sees it."""
    ironic_api.answers |= {
        LOOKUP: [node(TOKEN, tls_min_version="1.3")],
        BEAT: [(202, b"")],
        "POST /v1/continue_inspection": [(202, {"uuid": NODE})],
    }
    for name, text in (
        ("plugins.d/inspect.inventory", INVENTORY),
        ("schemas/inspect.inventory.json", json.dumps(MANIFEST)),
    ):
        path = tmp_path / name
        path.parent.mkdir(mode=0o700)
        path.write_text(text)
        path.chmod(0o700)
    (tmp_path / "config.toml").write_text(
        f'host = "127.0.0.1"\nport = 0\nstate = "{tmp_path}/state"\nnotices = "{tmp_path}/notices"\nbundled = false\n'
        f'plugins = ["{tmp_path}/plugins.d"]\nschemas = ["{tmp_path}/schemas"]\n'
    )
    with contextlib.ExitStack() as stack:

        def start(parameters=""):
            (tmp_path / "cmdline").write_text(f"ipa-api-url={ironic_api.url} agent.node={NODE} {parameters}")
            conductor = Conductor(ironic_api)
            agent = [
                sys.executable,
                "-m",
                "agent_router",
                "ramdisk",
                f"--config={tmp_path}/config.toml",
                f"--cmdline={tmp_path}/cmdline",
            ]
            process = subprocess.Popen(agent, stdin=subprocess.DEVNULL)
            stack.callback(process.wait, 20)
            stack.callback(process.send_signal, signal.SIGTERM)
            return conductor

        yield start


def test_the_agent_listens_and_is_idle_before_its_first_heartbeat(boot, ironic_api):
    conductor = boot("ipa-inspection-collectors=default")
    wait_for(lambda: conductor.saw, 60)
    assert ironic_api.at("POST")[0].path == "/v1/continue_inspection"
    statuses, steps = conductor.saw[0]
    assert statuses == ["SUCCEEDED"], "the collector, which took its time, is done"
    assert steps == "SUCCEEDED"


def test_tls_is_what_ironic_wants_from_the_first_heartbeat_on(boot, ironic_api):
    conductor = boot()
    wait_for(lambda: conductor.saw, 60)
    assert conductor.saw[0] == ([], "SUCCEEDED")
    with pytest.raises(urllib.error.URLError, match=r"(?i)protocol.version|alert"):
        conductor.ask(conductor.beat(), "/v1/commands/", most=ssl.TLSVersion.TLSv1_2)
    assert conductor.ask(conductor.beat(), "/v1/commands/")["commands"], "the command of before is still known"
