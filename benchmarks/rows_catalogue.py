"""Row 11: a thousand plugins: the additional cost of a start, and the cost of a lookup."""

import os
import shutil
import time
from pathlib import Path

import client
from report import Figure, median
from rows_calls import TEXT
from servers import BUILT, HERE, Lab

PLUGINS = 1000


def run(lab: Lab) -> list[Figure]:
    plugins, schemas, ran = _many(lab)
    cpu: dict[bool, list[float]] = {True: [], False: []}
    call = client.call_message("bench.c", TEXT)
    for number in range(-1, lab.rounds(15, 7)):
        for few in (True, False) if number % 2 else (False, True):
            server = lab.ours() if few else lab.ours("ours-1000", plugins, schemas)
            server.start()
            if client.send(server.port, call)[0] != 200:  # only a call guarantees that the plugins are loaded
                raise RuntimeError("the call after the start failed")
            if number >= 0:
                cpu[few].append(server.cpu() * 1e3)
            server.stop()
    first, again = _lookup_us(plugins, schemas)
    runs = len(os.listdir(ran))
    raw = {"cpu_ms": {"few": cpu[True], "many": cpu[False]}, "first_lookup_us": first, "plugins_run": runs}
    more = median(cpu[False]) - median(cpu[True])
    return [
        Figure(
            "11",
            f"{PLUGINS} plugins: additional CPU of start and first call",
            more,
            10,
            5,
            "ms",
            f"{runs} were run",
            raw=raw,
            good=not runs,
        ),
        Figure(
            "11",
            "  lookup of one of them, including the check for changes",
            again,
            5,
            None,
            "µs",
            f"first use {first:.0f} µs",
        ),
    ]


def _many(lab: Lab) -> tuple[Path, Path, Path]:
    """Directories with a thousand plugins besides the one that is called, and one that records which ran."""
    plugins, schemas, ran = (lab.work / name for name in ("plugins-1000", "schemas-1000", "ran"))
    for path in (plugins, schemas, ran):
        path.mkdir()
    shutil.copy(BUILT / "plugins/bench.c", plugins)
    shutil.copy(HERE / "schemas/bench.c.json", schemas)
    for number in range(PLUGINS):
        plugin = plugins / f"many.plugin{number}"
        plugin.write_text(f"#!/bin/sh\necho >{ran}/$$\n")
        plugin.chmod(0o755)
        shutil.copy(HERE / "schemas/bench.document.json", schemas / f"many.plugin{number}.json")
    return plugins, schemas, ran


def _lookup_us(plugins: Path, schemas: Path) -> tuple[float, float]:
    """µs of Registry.find: at first use, which reads the manifest, and afterwards."""
    from agent_router.catalogue.registry import Registry

    registry = Registry([plugins], [schemas])
    names = [f"many.plugin{number}" for number in range(PLUGINS)]
    rounds = []
    time.sleep(0.1)  # a directory that has just changed is read again each time
    for _ in range(12):
        begin = time.perf_counter()
        for name in names:
            if registry.find(name).state != "ready":
                raise RuntimeError(f"{name}: {registry.find(name).reason}")
        rounds.append((time.perf_counter() - begin) / PLUGINS * 1e6)
    return rounds[0], median(rounds[1:])
