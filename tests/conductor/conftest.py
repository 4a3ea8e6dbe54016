"""Fixtures of the conductor tests: ironic (one for all), rack (makes a node and its machine), and a table of times."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ironic import VENV, Ironic, Node
from tests.support.machine import Disk, Machine

HERE = Path(__file__).parent
DISK_MIB = 5 << 10  # sparse; Ironic's agents install onto no disk below 4 GiB
MAC = "52:54:00:77:00:01"
TIMES: dict[str, tuple[float, int]] = {}

IRONICS = 3  # at the same time, each with its share of the tests

Rack = Callable[..., Machine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.parent == HERE]
    for index, item in enumerate(ours):
        item.add_marker(pytest.mark.xdist_group(f"ironic{index % IRONICS}"))


def missing() -> str:
    if os.geteuid() != 0:
        return "needs root: makes loop devices and namespaces"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices: this kernel or container has none"
    if not (VENV / "bin/ironic").exists():
        return f"needs Ironic in {VENV}: make {VENV.name}/.installed"
    return ""


@pytest.fixture(scope="session")
def needs_a_machine() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def ironic(tmp_path_factory: pytest.TempPathFactory, needs_a_machine: None) -> Iterator[Ironic]:
    box = Ironic(tmp_path_factory.mktemp("ironic"))
    try:
        yield box.start()
    finally:
        box.stop()


def vendor(into: Path, *groups: Path) -> str:
    """The settings that add the plugins below these directories. Copied: a checkout may be writable by a group."""
    lines = ""
    for kind, source in (("plugins", "plugins.d"), ("schemas", "schemas")):
        target = into / source
        target.mkdir(mode=0o700, parents=True)
        for group in groups:
            for path in (group / source).iterdir():
                shutil.copy(path, target)
        lines += f"{kind} = {json.dumps([str(target)])}\n"
    return lines


@pytest.fixture
def rack(ironic: Ironic, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rack]:
    """`rack()` gives a machine with one disk whose node is manageable; keywords are the node's driver_info.

    `addresses`: the second machine of a test needs others; `automatic`: the ramdisk has a vendor's step of automated
    cleaning as well; `kind`: another class of machine.
    """
    made: list[Machine] = []
    begun = time.monotonic()

    def make(
        addresses: tuple[str, ...] = (MAC,),
        automatic: bool = False,
        kind: Callable[..., Machine] = Machine,
        **driver_info: Any,
    ) -> Machine:
        place = tmp_path / f"m{len(made) + 1}"
        dropped = place / "dropped"
        settings = vendor(dropped, HERE, *([HERE / "automatic"] if automatic else []))
        node = Node(ironic, list(addresses), **driver_info)
        made.append(kind(node, place, [Disk(place / "disk", DISK_MIB)], settings, dropped))
        return made[-1]

    yield make
    TIMES[request.node.name] = time.monotonic() - begun, sum(len(machine.boots) for machine in made)
    for machine in made:
        machine.unplug()
        if getattr(request.node, "failed", False):
            report(machine)
        machine.node.delete()


def report(machine: Machine) -> None:
    print("--- Ironic\n" + machine.node.box.log_of(machine.node.uuid)[-6000:])
    for boot in machine.boots:
        print(f"--- {boot.root.name}: {boot.cmdline}\n{boot.output[-4000:]}")
        for command in boot.commands():
            print(json.dumps(command)[:1000])


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    found = yield
    if found.when == "call":
        item.failed = found.failed  # type: ignore[attr-defined]
    return found


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TIMES:
        terminalreporter.section("flows with the real Ironic")
        for name, (took_s, boots) in TIMES.items():
            terminalreporter.write_line(f"{took_s:6.1f} s  {boots} boots  {name}")
