"""Marks that follow from the fixtures of a test, so that no test can lack them."""

import pytest

NEEDS = {
    "root": {"loop_disk", "loop_file_system", "mounted_tmpfs", "lan", "cables"},
    "swarm": {"swarm", "lan", "export"},
}


def mark(items: list[pytest.Item]) -> None:
    for item in items:
        if "ramdisk" in item.path.parts:
            continue  # in a virtual machine, with a lan of its own
        for name, fixtures in NEEDS.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(name)
