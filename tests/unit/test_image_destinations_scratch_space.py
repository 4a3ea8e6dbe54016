"""Where a published file is kept on a disk meanwhile."""

import pytest

from agent_router import plugin
from agent_router.image.destinations import scratch_space
from agent_router.storage import loop_device

MIB = 1 << 20
DISK = 100 * MIB
TAIL = DISK - MIB


@pytest.mark.parametrize(("size", "image", "start"), [
    (10 * MIB, 50 * MIB, 89 * MIB), (10 * MIB - 1, 50 * MIB, 89 * MIB), (10 * MIB + 1, 50 * MIB, 88 * MIB),
    (10 * MIB, 89 * MIB, 89 * MIB), (1, 0, 98 * MIB), (98 * MIB, 0, MIB),
])  # fmt: skip
def test_before_the_last_mib_and_behind_the_image(size, image, start):
    assert scratch_space.fit(size, TAIL, image, "/dev/x") == (start, TAIL)


@pytest.mark.parametrize(("size", "image"), [(10 * MIB, 89 * MIB + 1), (99 * MIB, 0), (1 << 50, 0), (1, DISK)])
def test_no_room(size, image):
    with pytest.raises(plugin.Failed, match="/dev/x has no room") as failed:
        scratch_space.fit(size, TAIL, image, "/dev/x")
    assert failed.value.code == "no_room"


def test_a_kernel_without_loop_devices(monkeypatch):
    monkeypatch.setattr(loop_device, "CONTROL", "/nonexistent/loop-control")
    with pytest.raises(plugin.Incompatible, match="load the module loop") as failed:
        loop_device.LoopDevice(0, 0, MIB)
    assert failed.value.code == "tool_missing"


def test_what_cannot_be_wiped_afterwards_is_told_and_ends_nothing(monkeypatch):
    class Loop:
        path = "/dev/loop9"

        def __init__(self, *where):
            closed.append(where)

        def close(self):
            closed.append("closed")

    def broken(start, end):
        raise OSError(5, "Input/output error")

    closed, told = [], []
    monkeypatch.setattr(scratch_space, "LoopDevice", Loop)
    monkeypatch.setattr(scratch_space.plugin, "warn", told.append)
    found = scratch_space.DiskScratchSpace(7, 10, 30, broken)
    found.close()
    found.close()
    assert closed == [(7, 10, 20), "closed"]
    assert told == ["bytes 10 to 30 of the disk, used as scratch space, could not be wiped: Input/output error"]
