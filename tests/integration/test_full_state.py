"""A state directory without room: a clear error, and the agent lives on."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Agent, FreshAgent
from tests.support.gate import Gate
from tests.support.waiting import wait_for

SIZE_KIB = 2048
# A private mount namespace: the small file system is seen by this agent alone and goes with it.
MOUNT = 'mkdir -p "$0" && mount -t tmpfs -o size={size}k,mode=700 tmpfs "$0" && exec "$@"'


def can_mount() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    program = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(program, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not can_mount(), reason="needs root and unshare -m: mounts a small tmpfs"),
]


@pytest.fixture
def small(fresh_agent: FreshAgent) -> Agent:
    agent = fresh_agent(start=False)
    agent.prefix = ("unshare", "-m", "sh", "-c", MOUNT.format(size=SIZE_KIB), str(agent.state))
    return agent.start()


def inside(agent: Agent) -> Path:
    """The state directory as the agent sees it."""
    return Path(f"/proc/{agent.pids['supervisor']}/root{agent.state}")


def fill(agent: Agent) -> Path:
    path = inside(agent) / "filler"
    with path.open("wb", 0) as file:
        size = 1 << 16
        while size:
            try:
                while file.write(b"x" * size) == size:
                    pass
                size //= 2
            except OSError:
                size //= 2
    return path


def test_a_full_state_directory_is_a_clear_error_and_passes(small: Agent, gate: Gate):
    before = small.pids
    running = small.post("stop.never", {"until": str(gate)}, wait=False)
    filler = fill(small)
    for _ in range(20):  # until the last page of the journal is full too
        command = small.post("work.bash", {"n": 2, "runs": "/dev/null"})
        assert command["command_status"] == "FAILED"
        error = command["command_error"]
        assert error["type"] == "NotStarted"
        assert "state directory" in error["message"]
        assert "No space left" in error["message"]
    big = small.send("test.echo", {"data": "x" * (3 << 20)}, wait=True)
    assert (big.status, big.json["code"]) == (503, "state_full"), big
    assert small.get("/v1/status")
    assert small.get("/v1/methods")
    filler.unlink()
    gate.release()
    assert small.command(running["id"], wait=True)["command_status"] == "SUCCEEDED"
    assert small.post("work.bash", {"n": 2, "runs": "/dev/null"})["command_result"] == {"square": 4}
    assert small.pids == before, "a process of the agent died"


def kept(agent: Agent) -> list[str]:
    """The ids in the file of the history."""
    lines = (inside(agent) / "history").read_text().split(",\n")[:-1]
    return [json.loads(line)["id"] for line in lines]


@pytest.mark.parametrize("killed", [False, True])
def test_what_ends_on_a_full_state_directory_is_not_forgotten(small: Agent, gate: Gate, killed):
    id = small.post("stop.never", {"until": str(gate)}, wait=False)["id"]
    fill(small)
    failed = wait_for(lambda: (one := small.post("lock.none")["id"]) not in kept(small) and one, "no room for a record")
    gate.release()
    ended = small.command(id, wait=True)
    assert small.command(id) == ended
    assert {id, failed} <= {one["id"] for one in small.commands()}
    assert small.delete(f"/v1/commands/{id}").problem["code"] == "already_ended"
    if killed:
        small.kill("runner")
        wait_for(lambda: small.answers(f"/v1/commands/{id}"), "a new runner")
    (inside(small) / "filler").unlink()
    wait_for(lambda: id in kept(small), "its record is written")
    again = small.command(id)
    if killed:  # in between nothing could be written down
        assert again["command_status"] == "FAILED"
    else:
        assert again == ended


def test_output_that_does_not_fit_is_no_success(small: Agent):
    """The plugin's own write fails; a cut answer must not pass for one."""
    command = small.post("test.echo", {"data": "x" * (3 * SIZE_KIB << 8)})
    assert command["command_status"] == "FAILED", "it cannot have fitted"
    assert small.post("work.bash", {"n": 3, "runs": "/dev/null"})["command_result"] == {"square": 9}


def test_a_runner_that_dies_on_a_full_disk_comes_back(small: Agent, gate: Gate):
    id = small.post("stop.never", {"until": str(gate)}, wait=False)["id"]
    filler = fill(small)
    small.kill("runner")
    wait_for(lambda: "runner" in small.pids and small.answers(f"/v1/commands/{id}"), "a new runner")
    filler.unlink()
    gate.release()
    ended = small.ended(id)
    assert ended["command_status"] == "SUCCEEDED" or ended["command_error"]["type"] == "OutcomeUnknown", ended
    assert small.post("work.bash", {"n": 3, "runs": "/dev/null"})["command_result"] == {"square": 9}
