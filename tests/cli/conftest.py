"""Fixtures of the command line tests: cli (runs the real command), server, secure (token and TLS)."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.certificates import self_signed
from tests.support.gate import Gate
from tests.support.overlay import OverlayTree
from tests.support.waiting import HANG_S

COMMAND = Path(sys.executable).with_name("agent-router")
ARGV = [str(COMMAND)] if COMMAND.exists() else [sys.executable, "-m", "agent_router"]
TOKEN = "a-token-of-24-characters"
OBJECT = {"type": "object"}

SOURCE = '. "${AGENT_LIB:?}/plugin.sh"\n'
PLUGINS: dict[str, tuple[str, dict[str, Any]]] = {
    "demo.echo": ("#!/bin/sh\nexec cat\n", {"request": {**OBJECT, "properties": {
        "text": {"type": "string"}, "n": {"type": "integer"}, "x": {"type": "number"}, "flag": {"type": "boolean"},
        "words": {"type": "array", "items": {"type": "string"}},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "either": {"type": ["string", "null"]}, "mixed": {"type": ["integer", "string"]},
        "mode": {"enum": ["1", "auto"]},
        "shared": {"$ref": "#/$defs/name"}, "object": {"type": "object"}, "strict": {"type": "integer", "minimum": 0},
    }}, "$defs": {"name": {"type": "string"}}}),
    "demo.fails": ("#!/bin/bash\n" + SOURCE + """
log looking
echo 'tool: it broke' >&2
fail broken 'the thing is broken'
""", {}),
    "demo.dies": ("#!/bin/sh\necho '<3>it broke' >&2\necho half an answer\nexit 3\n", {}),
    "demo.says_no": ("#!/bin/bash\n" + SOURCE + "refuse mounted 'it is mounted'\n", {}),
    "demo.works": ("#!/bin/bash\n" + SOURCE + """
for i in 1 2 3 4; do
    log "step $i"
    progress $i 4 steps "at step $i"
    [[ -z ${PARAM_until-} ]] || read -r <"$PARAM_until"
done
warn 'one step was slow'
echo 'the last line' >&2
reply steps:number 4
""", {}),
    "demo.waits": ("#!/bin/bash\n" + SOURCE + """
done=0
trap 'fail interrupted "stopped at block $done"' TERM
echo "$$ $PPID $HOME" >"$PARAM_note"
for ((done = 0; done < 3000; done++)); do progress "$done" 3000 blocks; sleep 0.02; done
""", {"request": {**OBJECT, "required": ["note"], "properties": {"note": {"type": "string"}}}}),
    "demo.stubborn": ("""#!/bin/bash
trap '' TERM
echo "$$ $PPID $HOME" >"$PARAM_note"
while :; do sleep 0.05; done
""", {"grace_s": 0.5}),
    "demo.plans": ("#!/bin/sh\necho \"{\\\"action\\\": \\\"$AGENT_ACTION\\\"}\"\n", {
        "supports": ["plan"],
        "steps": [{"interface": "deploy", "step": "demo_step", "phases": ["clean"], "priority": {"clean": 7}}]}),
    "demo.disk": ("#!/bin/sh\necho '{}'\n", {"effects": "destroy", "request": {
        **OBJECT, "required": ["device"], "properties": {"device": {"type": "string", "format": "block-device"}}}}),
    "demo.alone": ("#!/bin/sh\n", None),
}  # fmt: skip


@dataclass
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options for the directories of PLUGINS, without the bundled ones."""
    root = tmp_path_factory.mktemp("cli")
    for kind in ("plugins", "schemas"):
        (root / kind).mkdir(mode=0o700)
    for name, (script, keys) in PLUGINS.items():
        (root / "plugins" / name).write_text(script)
        (root / "plugins" / name).chmod(0o700)
        if keys is not None:
            whole = {
                "protocol": 1,
                "title": f"Test {name}",
                "version": "1",
                "effects": "read",
                "request": OBJECT,
                "response": {},
            }
            (root / "schemas" / f"{name}.json").write_text(json.dumps({**whole, **keys}))
    return [f"--plugins={root}/plugins", f"--schemas={root}/schemas", "--no-bundled"]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENT_ROUTER_", "COLUMNS"))}
    return {**kept, "LANG": "C.UTF-8", **more}


def descendants(pid: int) -> list[int]:
    try:
        children = [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(below for child in children for below in descendants(child))]


class Cli:
    """Runs `agent-router`; what a test started is ended with it."""

    argv = ARGV

    def __init__(self, directories: list[str]) -> None:
        self.directories = directories
        self._started: list[subprocess.Popen[bytes]] = []

    def __call__(self, *args: str, stdin: bytes = b"", **env: str) -> Done:
        """The whole run of one command, its standard output and error being pipes."""
        done = subprocess.run([*ARGV, *args], input=stdin, env=environment(**env), capture_output=True, timeout=HANG_S)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def local(self, command: str, *args: str, **options: Any) -> Done:
        """The same with the plugins of these tests, without a server."""
        return self(command, *args, *self.directories, **options)

    def start(self, *args: str, **options: Any) -> "subprocess.Popen[bytes]":
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([*ARGV, *args], env=environment(), start_new_session=True, **pipes)
        self._started.append(process)
        return process

    def end_all(self) -> None:
        for process in self._started:
            if process.poll() is None:  # its test failed: what it has started would outlive it
                for pid in (*descendants(process.pid), process.pid):
                    os.kill(pid, signal.SIGKILL)
            process.wait(HANG_S)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def cli(directories: list[str]) -> Iterator[Cli]:
    made = Cli(directories)
    yield made
    made.end_all()


class Server:
    """`agent-router serve` on a free port of loopback."""

    def __init__(self, state: Path, options: list[str], pattern: str = "", **env: str) -> None:
        argv = [*ARGV, "serve", "--port=0", f"--state={state}", *options]
        self.state = state
        self.process = subprocess.Popen(
            argv, env=environment(**env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], HANG_S)
        assert ready, "the server said nothing"
        self.greeting = self.process.stdout.readline().decode()
        found = re.match(pattern or r"agent-router: (https?://127\.0\.0\.1:\d+)/ ", self.greeting)
        assert found, self.greeting
        self.url = found[1]
        self.option = f"--url={self.url}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=HANG_S) as answer:
            return json.load(answer)

    def running(self, name: str) -> list[str]:
        """The ids of the commands of a method that have no end yet."""
        found = self.get("/v1/commands/")["commands"]
        return [item["id"] for item in found if (item["name"], item["command_status"]) == (name, "RUNNING")]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(HANG_S)
        shutil.rmtree(self.state, ignore_errors=True)


@pytest.fixture(scope="session")
def server(directories: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("state"), directories)
    yield made
    made.stop()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`make_server("--option", VARIABLE="x")`: a server of its own for one test."""
    made: list[Server] = []

    def make(*options: str, **keys: str) -> Server:
        made.append(Server(tmp_path / "state", [*options], **keys))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A self-signed certificate for localhost and 127.0.0.1: paths of cert and key."""
    cert, key = self_signed(tmp_path_factory.mktemp("tls"))
    return {"cert": str(cert), "key": str(key)}


@pytest.fixture(scope="session")
def secure(
    directories: list[str], certificate: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with token and TLS."""
    options = [f"--cert={certificate['cert']}", f"--key={certificate['key']}", f"--token={TOKEN}"]
    made = Server(tmp_path_factory.mktemp("state"), [*directories, *options])
    yield made
    made.stop()


class Trace:
    """The note that demo.waits and demo.stubborn write: plugin, runner, and the state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.argument = f"note={path}"

    def written(self) -> bool:
        return self.path.exists() and self.path.read_text().endswith("\n")

    def plugin_gone(self) -> bool:
        return not processes.alive(int(self.path.read_text().split()[0]))

    def all_gone(self) -> bool:
        """Also the private runner and its directory."""
        _, runner, home = self.path.read_text().split()
        return self.plugin_gone() and not processes.alive(int(runner)) and not Path(home).parents[2].exists()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """What demo.works waits at in each step, if it is given it as `until`."""
    made = Gate(tmp_path / "gate")
    yield made
    made.close()


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return Trace(tmp_path / "note")


@pytest.fixture
def tree(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> OverlayTree:
    """`tree.plugin("area.verb")`, `tree.file("root/opt/tool")`, then `tree()`: see OverlayTree."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return OverlayTree(tmp_path, capsys)
