import pytest

from agent_router.hardware import numa


def node(sys, number, mem_kb, **cpus):
    """cpus: cpu4=(package, core); None: offline, so without a topology."""
    directory = sys / f"devices/system/node/node{number}"
    directory.mkdir(parents=True)
    if mem_kb is not None:
        text = f"Node {number} MemTotal:       {mem_kb} kB\nNode {number} MemFree:        1 kB\n"
        (directory / "meminfo").write_text(text)
    (directory / "cpulist").write_text("0-99\n")
    for name, place in cpus.items():
        topology = directory / name / "topology"
        topology.parent.mkdir()
        if place:
            topology.mkdir()
            (topology / "physical_package_id").write_text(f"{place[0]}\n")
            (topology / "core_id").write_text(f"{place[1]}\n")


def nic(sys, name, numa_node):
    directory = sys / "class/net" / name
    (directory / "device" if numa_node is not None else directory).mkdir(parents=True)
    if numa_node is not None:
        (directory / "device/numa_node").write_text(f"{numa_node}\n")


def test_two_sockets_with_two_threads_per_core(tmp_path):
    node(tmp_path, 1, 132120064, cpu1=(1, 0), cpu3=(1, 1), cpu5=(1, 0), cpu7=(1, 1))
    node(tmp_path, 0, 131790512, cpu0=(0, 0), cpu2=(0, 1), cpu4=(0, 0), cpu6=(0, 1))
    nic(tmp_path, "eno2", 1)
    nic(tmp_path, "eno1", 0)
    nic(tmp_path, "virt", -1)
    nic(tmp_path, "lo", None)
    assert numa.topology(tmp_path) == {
        "ram": [{"numa_node": 0, "size_kb": 131790512}, {"numa_node": 1, "size_kb": 132120064}],
        "cpus": [
            {"cpu": 0, "numa_node": 0, "thread_siblings": [0, 4]},
            {"cpu": 1, "numa_node": 0, "thread_siblings": [2, 6]},
            {"cpu": 0, "numa_node": 1, "thread_siblings": [1, 5]},
            {"cpu": 1, "numa_node": 1, "thread_siblings": [3, 7]},
        ],
        "nics": [
            {"name": "eno1", "numa_node": 0},
            {"name": "eno2", "numa_node": 1},
            {"name": "virt", "numa_node": -1},
        ],
    }


def test_cores_of_two_sockets_in_one_node_are_no_siblings(tmp_path):
    node(tmp_path, 0, 1, cpu0=(0, 0), cpu1=(1, 0))
    assert [core["thread_siblings"] for core in numa.topology(tmp_path)["cpus"]] == [[0], [1]]


def test_ten_comes_after_two(tmp_path):
    for number in (10, 2):
        node(tmp_path, number, 1, cpu10=(0, 3), cpu9=(0, 3))
    found = numa.topology(tmp_path)
    assert [entry["numa_node"] for entry in found["ram"]] == [2, 10]
    assert found["cpus"][0]["thread_siblings"] == [9, 10]


def test_a_node_of_memory_alone_a_node_without_and_a_cpu_that_is_offline(tmp_path):
    node(tmp_path, 0, None, cpu0=(0, 0), cpu1=None)
    node(tmp_path, 1, 4096)
    found = numa.topology(tmp_path)
    assert found["ram"] == [{"numa_node": 1, "size_kb": 4096}]
    assert found["cpus"] == [{"cpu": 0, "numa_node": 0, "thread_siblings": [0]}]
    assert found["nics"] == []


def test_a_kernel_without_numa(tmp_path, monkeypatch):
    assert numa.topology(tmp_path) is None
    monkeypatch.setattr(numa, "topology", lambda: None)
    assert numa.numa_topology({}) == {}


@pytest.mark.parametrize(("text", "number"), [("12", 12), ("-1", -1), ("", None), (None, None), ("x", None)])
def test_whole(text, number):
    assert numa.whole(text) == number
