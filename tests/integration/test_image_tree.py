"""An archive into a tree by the real agent: its list of disks, its locks, and what it does after a kill."""

import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import Agent, FreshAgent
from tests.support.image_server import ImageServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A loop device with a new file system, and where that is mounted."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("needs root and loop devices")
    file, place = tmp_path / "disk", tmp_path / "target"
    place.mkdir()
    with file.open("wb") as out:
        out.truncate(32 * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(file)], check=True)
    argv = ["losetup", "--find", "--show", str(file)]
    device = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    try:
        subprocess.run(["mount", device, str(place)], check=True)
        yield device, place
    finally:
        subprocess.run(["umount", str(place)], check=False)
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def server() -> Iterator[ImageServer]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("first", "second"):
            info = tarfile.TarInfo(name)
            info.size = 4 * MIB
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    made = ImageServer(out.getvalue())
    yield made
    made.shutdown()
    made.server_close()


def start(agent: Agent, place: Path, server: ImageServer) -> str:
    """The id of a command that has unpacked something and is at it."""
    server.pause_s = 0.02
    command = agent.post("image.write", request(place, server), wait=False)
    wait_for((place / "first").exists, "the first file is there")
    return command["id"]


def request(place: Path, server: ImageServer) -> dict[str, str]:
    return {"tree": str(place), "sources": server.url, "format": "tar"}


def test_a_tree_on_a_disk_that_is_not_listed_is_protected(mounted, server, fresh_agent: FreshAgent):
    device, place = mounted
    refused = fresh_agent("--devices=/dev/sd*").post("image.write", request(place, server))["command_error"]
    assert refused["type"] == "Refused"
    assert f"{device} is not in the agent's device allow-list (/dev/sd*)" in refused["message"]
    assert server.requests == []
    done = fresh_agent(f"--devices={device}").post("image.write", request(place, server))
    assert (done["command_status"], done["command_result"]["tree"]) == ("SUCCEEDED", str(place))
    assert (place / "second").stat().st_size == 4 * MIB


def test_a_tree_locks_the_disk_below_it(mounted, server, fresh_agent: FreshAgent):
    device, place = mounted
    agent = fresh_agent("--devices=/dev/loop*")
    command = start(agent, place, server)
    for busy in ({"device": device, "sources": server.url}, request(place, server)):
        reply = agent.send("image.write", busy)
        assert (reply.status, reply.problem["faultstring"]) == (409, "Agent is busy: executing command write")
    agent.delete(f"/v1/commands/{command}")
    assert agent.command(command, wait=True)["command_error"]["type"] == "Cancelled"
    assert {path.name for path in place.iterdir()} == {"lost+found"}


def test_what_a_command_that_had_to_be_killed_unpacked_is_cleaned_up(mounted, server, fresh_agent: FreshAgent):
    _, place = mounted
    agent = fresh_agent("--devices=/dev/loop*")
    command = start(agent, place, server)
    (group,) = processes.children(agent.pids["runner"])
    os.killpg(group, signal.SIGSTOP)  # it does not obey SIGTERM
    agent.delete(f"/v1/commands/{command}")
    assert (place / "first").exists()
    os.killpg(group, signal.SIGKILL)
    assert agent.command(command, wait=True)["command_error"]["type"] == "Cancelled"
    assert {path.name for path in place.iterdir()} == {"lost+found"}
