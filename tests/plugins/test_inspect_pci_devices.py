from pathlib import Path

import pytest

from tests.support.plugin import problems

DEVICE = {
    "vendor_id": "8086", "product_id": "1572", "bus": "0000:3b:00.0", "class": "020000", "revision": "02",
    "numa_node_id": "0",
}  # fmt: skip


def test_schema_refuses_parameters():
    assert problems("inspect.pci_devices", "request", {"bus": "0000:3b:00.0"})


@pytest.mark.parametrize(("key", "value"), [("vendor_id", "0x8086"), ("revision", ""), ("numa_node_id", 0)])
def test_schema_refuses_other_forms_of_numbers(key, value):
    assert not problems("inspect.pci_devices", "response", {"pci_devices": [DEVICE]})
    assert problems("inspect.pci_devices", "response", {"pci_devices": [{**DEVICE, key: value}]})


def test_this_machine(call):
    directory = Path("/sys/bus/pci/devices")
    addresses = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    found = call("inspect.pci_devices")["pci_devices"]
    assert [device["bus"] for device in found] == addresses
    for device in found:
        assert (directory / device["bus"] / "vendor").read_text() == f"0x{device['vendor_id']}\n"
