"""Fixtures of the integration tests: agent (one for all), drop, fresh_agent."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.agent import Agent, Drop, FreshAgent, drop_into
from tests.support.certificates import self_signed
from tests.support.gate import Gate
from tests.support.waiting import wait_for

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def memory_dir() -> Iterator[Path]:
    """A private directory on tmpfs, where the state of an agent belongs."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = Path(tempfile.mkdtemp(prefix="agent-router-test-", dir=base))
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def test_plugins(memory_dir: Path) -> tuple[str, str]:
    """The options for tests/plugins.d and tests/schemas, copied: a checkout may be writable by a group."""
    options = []
    for kind, source in (("plugins", "plugins.d"), ("schemas", "schemas")):
        target = memory_dir / source
        shutil.copytree(TESTS / source, target, symlinks=True)
        for path in (target, *target.iterdir()):
            if not path.is_symlink():
                path.chmod(0o700)
        options.append(f"--{kind}={target}")
    return options[0], options[1]


@pytest.fixture(scope="session")
def shared_agent(memory_dir: Path, test_plugins: tuple[str, str]) -> Iterator[Agent]:
    made = Agent(memory_dir / "shared", *test_plugins).start()
    try:
        yield made
        made.stop()
        assert made.leftovers() == []
    finally:
        made.kill_all()


@pytest.fixture
def agent(shared_agent: Agent) -> Iterator[Agent]:
    """The shared agent. Whatever a test did to it, the same processes are there afterwards, and idle."""
    before = shared_agent.pids
    assert set(before) == {"supervisor", "runner", "front"}
    yield shared_agent
    for command in shared_agent.commands():
        if command["command_status"] == "RUNNING":
            shared_agent.delete(f"/v1/commands/{command['id']}")
    assert_idle(shared_agent)
    assert shared_agent.pids == before, f"a process of the agent died: {shared_agent.output.read_text()[-2000:]}"


def assert_idle(agent: Agent) -> None:
    """No plugin, no stray, no zombie, no working directory is left."""
    pids = agent.pids
    wait_for(lambda: processes.children(pids["runner"]) == [], "the runner has no child")
    assert processes.zombies(pids["supervisor"]) == []
    known = {*pids.values(), *agent.judges}
    left = [text for text in agent.leftovers() if int(text.split()[0]) not in known]
    assert left == []
    wait_for(lambda: list(agent.state.glob("c/*/cwd")) == [], "every working directory is removed")


@pytest.fixture
def drop(agent: Agent) -> Iterator[Drop]:
    """`drop("area.verb", "#!/bin/sh…", request={…}, exec={…})` copies a plugin in; it is gone after the test."""
    yield lambda name, script, **manifest: drop_into(agent, name, script, **manifest)
    for directory in (agent.plugins, agent.schemas):
        for path in directory.iterdir():
            path.unlink()


@pytest.fixture
def fresh_agent(memory_dir: Path, test_plugins: tuple[str, str]) -> Iterator[FreshAgent]:
    """`fresh_agent("--token=…", start=True)`: an agent that the test may kill. At the end nothing may be left."""
    made: list[Agent] = []

    def make(*options: str, start: bool = True, **keys: Any) -> Agent:
        root = Path(tempfile.mkdtemp(prefix="fresh-", dir=memory_dir))
        made.append(Agent(root, *test_plugins, *options, **keys))
        return made[-1].start() if start else made[-1]

    try:
        yield make
        for one in made:
            one.stop()
            wait_for(lambda one=one: one.leftovers() == [], f"nothing of the agent is left: {one.leftovers()}")
    finally:
        for one in made:
            one.kill_all()
            shutil.rmtree(one.root, ignore_errors=True)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """What plugins wait at that are given it as `until`."""
    made = Gate(tmp_path / "gate")
    yield made
    made.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))
