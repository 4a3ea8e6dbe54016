import os

import pytest

from tests.support.plugin import manifest, problems


@pytest.mark.parametrize("request_", [{"lldp": 1}, {"fast": True}])
def test_schema_refuses(request_):
    assert problems("inspect.inventory", "request", request_)


def test_the_inventory_has_the_shape_of_hardware_inventory():
    inventory, own = manifest("hardware.inventory"), manifest("inspect.inventory")
    assert own["$defs"]["inventory"] == inventory["response"]
    for name in ("interface", "disk"):
        assert own["$defs"][name] == inventory["$defs"][name]


def test_this_machine(call):
    answer = call("inspect.inventory")
    assert answer["inventory"]["interfaces"], "Ironic refuses an inventory without interfaces"
    assert all(interface["lldp"] is None for interface in answer["inventory"]["interfaces"])
    assert answer["inventory"]["cpu"]["count"] == os.cpu_count()
    assert answer["configuration"]["managers"][0]["name"] == "agent-router"
    large = [disk for disk in answer["inventory"]["disks"] if disk["size"] >= 4 << 30]
    assert answer.get("root_disk") == min(large, key=lambda disk: (disk["size"], disk["name"]), default=None)


def test_without_any_tool_there_is_an_answer(call):
    call.hide_tools()
    answer = call("inspect.inventory")
    assert answer["inventory"]["interfaces"]
    assert "root_disk" not in answer
    assert any("cannot list disks" in warning for warning in call.warnings)
