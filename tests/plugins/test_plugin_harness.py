"""The wall around the machine's own disks must hold before any other test is run."""

from pathlib import Path

import pytest

from tests.support import plugin


@pytest.mark.parametrize("name", ["disk.wipe", "disk.erase", "image.write"])
def test_no_test_can_point_a_writing_plugin_at_a_real_disk(monkeypatch, name):
    monkeypatch.setattr(Path, "is_block_device", lambda self: True)
    with pytest.raises(AssertionError, match="only at a loop device"):
        plugin.guard_devices(name, {"device": "/dev/no-such-disk"})
    plugin.guard_devices(name, {"device": "/dev/loop-of-a-test"})
