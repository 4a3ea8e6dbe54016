"""A plugin in uninterruptible sleep: SIGKILL does not help, but only its own locks suffer."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import FreshAgent, drop_into
from tests.support.waiting import wait_for

TOOLS = ("losetup", "mkfs.ext4", "fsfreeze", "mount", "umount")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts and freezes a file system on a loop device"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices"),
]

# A write to a frozen file system sleeps in the kernel until the thaw.
WRITES = """#!/bin/bash
echo '{"warn": "writing"}' >&3
echo data >"$PARAM_file"
"""


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def frozen(memory_dir: Path) -> Iterator[Path]:
    """A mounted file system of our own, frozen; `thaw` is what the test does to it."""
    image, mount = memory_dir / f"frozen-{uuid.uuid4().hex}", memory_dir / "frozen"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    mount.mkdir()
    run("mkfs.ext4", "-q", str(image))
    device = run("losetup", "--find", "--show", str(image))
    mounted = False
    try:
        run("mount", device, str(mount))
        mounted = True
        run("fsfreeze", "--freeze", str(mount))
        yield mount
    finally:
        if mounted:
            subprocess.run(["fsfreeze", "--unfreeze", str(mount)], capture_output=True, check=False)
            wait_for(lambda: subprocess.run(["umount", mount], capture_output=True).returncode == 0, "unmounted")
        run("losetup", "--detach", device)
        image.unlink()
        mount.rmdir()


def test_a_stuck_plugin_fails_keeps_its_locks_and_is_forgotten_when_it_is_gone(fresh_agent: FreshAgent, frozen: Path):
    agent = fresh_agent()
    request = {"type": "object", "properties": {"file": {"type": "string"}}}
    keys = {"effects": "destroy", "locks": ["disk:x"], "grace_s": 0.2}
    drop_into(agent, "dropped.writes", WRITES, request=request, **keys)
    id = agent.post("dropped.writes", {"file": str(frozen / "file")}, wait=False)["id"]
    [plugin] = wait_for(lambda: processes.children(agent.pids["runner"]), "the plugin")
    wait_for(lambda: processes.stat(plugin)[0] == "D", "it sleeps in the kernel")
    agent.delete(f"/v1/commands/{id}")
    ended = agent.command(id, wait=True)
    assert ended["command_error"]["type"] == "Stuck"
    assert "locks are kept" in ended["command_error"]["message"]
    assert processes.stat(plugin)[0] == "D", "the test has lost its point"

    assert agent.send("dropped.writes", {"file": "/dev/null"}).status == 409
    assert agent.post("lock.one", {"thing": "sda"})["command_status"] == "SUCCEEDED"
    assert agent.post("work.python", {"n": 3, "runs": "/dev/null"})["command_result"] == {"square": 9}
    reply = agent.delete(f"/v1/commands/{id}")
    assert reply.status == 409
    assert "SIGKILL" in reply.problem["message"]
    assert [item["id"] for item in agent.commands()].count(id) == 1

    agent.kill("runner")
    wait_for(lambda: agent.answers(f"/v1/commands/{id}"), "a new runner")
    assert agent.send("dropped.writes", {"file": "/dev/null"}).status == 409, "its locks outlive the runner"
    assert agent.command(id) == ended

    run("fsfreeze", "--unfreeze", str(frozen))
    assert processes.gone(plugin)
    wait_for(lambda: agent.send("dropped.writes", {"file": "/dev/null"}, wait=True).status == 200, "the lock is free")
    assert agent.command(id) == ended, "the verdict stays what it was"
