"""Fixtures of the plugin tests: call, fake_tool, loop_disk."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import disk_of_4k_sectors, root_disk, serve  # noqa: F401
from tests.support.disk_content import noise
from tests.support.loop import LoopDevice, skip_without_loop_devices
from tests.support.plugin import Caller, FakeTool
from tests.support.trees import mounted  # noqa: F401

MIB = 1 << 20


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Caller]:
    made = Caller(tmp_path / "calls")
    yield made
    made.close()


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
    # No multiple of a buffer; no byte pattern repeats at a buffer's distance.
    return noise(5 * MIB + 12800)


@pytest.fixture
def server(serve: Any, image: bytes) -> Any:  # noqa: F811 - the fixture that is imported above
    """The web server that has `image`."""
    return serve(image)


@pytest.fixture
def loop_disk(call: Caller, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`loop_disk(size_mib=16)` gives /dev/loopN full of garbage: a plugin that skips a write is seen."""
    skip_without_loop_devices()
    made: list[LoopDevice] = []
    memory = Path("/dev/shm")  # under tools/apart.sh it is gone with the tests
    directory = memory if os.access(memory, os.W_OK) else tmp_path

    def make(size_mib: int = 16, garbage: bool = True, sector_size: int = 512) -> str:
        backing = directory / f"agent-router-test-{os.getpid()}-{len(made)}"
        try:
            with backing.open("wb") as file:
                if garbage:
                    block = os.urandom(MIB)
                    for _ in range(size_mib):
                        file.write(block)
                file.truncate(size_mib * MIB)
            made.append(LoopDevice(backing, sector_size))
        except BaseException:
            backing.unlink(missing_ok=True)
            raise
        return made[-1].path

    yield make
    call.close()
    for device in made:
        device.backing.unlink()
    for device in reversed(made):
        device.close()


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
