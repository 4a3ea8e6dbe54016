"""Fixtures of the plugin tests: call, fake_tool, loop_disk."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import disk_of_4k_sectors, root_disk, serve  # noqa: F401
from tests.support.plugin import Caller, FakeTool
from tests.support.trees import mounted  # noqa: F401

MIB = 1 << 20


@pytest.fixture
def call(tmp_path: Path) -> Caller:
    return Caller(tmp_path / "calls")


@pytest.fixture
def fake_tool(call: Caller, tmp_path: Path) -> Callable[..., FakeTool]:
    """`fake_tool("lsblk", stdout="…", stderr="", status=0)`; `.calls` are the argument lists it was given."""
    directory = tmp_path / "fakes"
    (directory / "bin").mkdir(parents=True)
    call.path = f"{directory / 'bin'}:{call.path}"

    def make(name: str, stdout: str = "", stderr: str = "", status: int = 0) -> FakeTool:
        return FakeTool(directory, name, stdout, stderr, status)

    return make


@pytest.fixture
def image() -> bytes:
    # Neither a multiple of a buffer nor of a sector; no byte pattern repeats at a buffer's distance.
    return os.urandom(5 * MIB + 12345)


@pytest.fixture
def server(serve: Any, image: bytes) -> Any:  # noqa: F811 - the fixture that is imported above
    """The web server that has `image`."""
    return serve(image)


@pytest.fixture
def loop_disk(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`loop_disk(size_mib=16)` gives /dev/loopN full of garbage: a plugin that skips a write is seen."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes loop devices")
    if not Path("/dev/loop-control").exists():
        pytest.skip("needs loop devices: this kernel or container has none")
    made: list[tuple[str, Path]] = []
    memory = Path("/dev/shm")
    directory = memory if os.access(memory, os.W_OK) else tmp_path

    def make(size_mib: int = 16, garbage: bool = True) -> str:
        backing = directory / f"agent-router-test-{os.getpid()}-{len(made)}"
        with backing.open("wb") as file:
            if garbage:
                block = os.urandom(MIB)
                for _ in range(size_mib):
                    file.write(block)
            file.truncate(size_mib * MIB)
        made.append(("", backing))
        done = subprocess.run(
            ["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=True
        )
        made[-1] = (done.stdout.strip(), backing)
        return made[-1][0]

    yield make
    for device, backing in reversed(made):
        if device:
            subprocess.run(["partx", "--delete", device], capture_output=True, check=False)
            subprocess.run(["losetup", "--detach", device], check=False)
        backing.unlink(missing_ok=True)


@pytest.fixture
def disk(loop_disk: Callable[..., str]) -> str:
    return loop_disk(16)


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`swarm(body, **more)` is a torrent_box.Swarm."""
    # Not at the top: without libtorrent all other tests run.
    from tests.support.swarm import Swarm

    made: list[Any] = []

    def make(body: bytes, **more: Any) -> Any:
        directory = tmp_path / f"published{len(made)}"
        directory.mkdir()
        made.append(Swarm(directory, body, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
