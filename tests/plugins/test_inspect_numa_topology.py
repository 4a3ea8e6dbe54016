import os
from pathlib import Path

import pytest

from tests.support.plugin import problems


def test_schema_refuses_parameters():
    assert problems("inspect.numa_topology", "request", {"node": 0})


@pytest.mark.parametrize("topology", [{"ram": []}, {"ram": [], "cpus": [{"cpu": 0, "numa_node": 0}], "nics": []}])
def test_schema_refuses_half_a_topology(topology):
    assert problems("inspect.numa_topology", "response", {"numa_topology": topology})


def test_this_machine(call):
    answer = call("inspect.numa_topology")
    if not Path("/sys/devices/system/node/node0").exists():
        assert answer == {}
        return
    topology = answer["numa_topology"]
    for node in topology["ram"]:
        meminfo = Path(f"/sys/devices/system/node/node{node['numa_node']}/meminfo").read_text()
        assert meminfo.splitlines()[0].split()[-2:] == [str(node["size_kb"]), "kB"]
    threads = [thread for core in topology["cpus"] for thread in core["thread_siblings"]]
    assert sorted(threads) == list(range(os.cpu_count() or 0)), "each logical CPU stands once"
