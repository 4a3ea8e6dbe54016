"""`numa_topology` of an inspection: the memory, CPUs and network interfaces of each NUMA node."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.storage.blockdev import SYS, read

Nodes = dict[int, Path]


def numa_topology(request: dict[str, Any]) -> dict[str, Any]:
    """{"numa_topology": {...}}, or {} if the kernel shows no NUMA nodes."""
    found = topology()
    if found is None:
        plugin.log("this kernel shows no NUMA nodes")
        return {}
    return {"numa_topology": found}


def topology(sys: Path = SYS) -> dict[str, Any] | None:
    nodes = numbered(sys / "devices/system/node", "node")
    if not nodes:
        return None
    return {"ram": ram(nodes), "cpus": cpus(nodes), "nics": nics(sys)}


def numbered(directory: Path, word: str) -> Nodes:
    """Directories such as node0 or cpu12 by number, sorted."""
    found = {
        int(match[1]): path
        for path in directory.glob(f"{word}*")
        if (match := re.fullmatch(rf"{word}(\d+)", path.name))
    }
    return dict(sorted(found.items()))


def ram(nodes: Nodes) -> list[dict[str, int]]:
    """Memory of each node in KiB; a node without this information is skipped."""
    texts = {number: read(path / "meminfo") or "" for number, path in nodes.items()}
    found = {number: re.search(r"MemTotal:\s*(\d+) kB", text) for number, text in texts.items()}
    return [{"numa_node": number, "size_kb": int(match[1])} for number, match in found.items() if match]


def cpus(nodes: Nodes) -> list[dict[str, Any]]:
    """One entry per core with its logical CPUs, sorted by node, socket and core."""
    threads: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for node, path in nodes.items():
        for thread, cpu in numbered(path, "cpu").items():
            core = whole(read(cpu / "topology/core_id"))
            # An offline CPU has no topology. Cores are numbered per socket, and a node may span sockets.
            if core is not None:
                threads[node, whole(read(cpu / "topology/physical_package_id")) or 0, core].append(thread)
    return [
        {"cpu": core, "numa_node": node, "thread_siblings": siblings}
        for (node, _, core), siblings in sorted(threads.items())
    ]


def nics(sys: Path = SYS) -> list[dict[str, Any]]:
    """Network interfaces whose device has a node; -1 if the firmware does not specify it."""
    directory = sys / "class/net"
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    found = ((path.name, whole(read(path / "device/numa_node"))) for path in paths)
    return [{"name": name, "numa_node": node} for name, node in found if node is not None]


def whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text, re.ASCII) else None
