import os

import pytest

from agent_router.image.target import MIB, Target, split
from agent_router.plugin import Failed


@pytest.mark.parametrize(("offset", "length", "size", "expected"), [
    (0, MIB, 9 * MIB, [(0, MIB, True)]),
    (0, 2 * MIB, 9 * MIB, [(0, MIB, True), (MIB, 2 * MIB, False)]),
    (3 * MIB, 5, 9 * MIB, [(3 * MIB, 3 * MIB + 5, False)]),
    (8 * MIB - 5, 10, 9 * MIB, [(8 * MIB - 5, 8 * MIB, False), (8 * MIB, 8 * MIB + 5, True)]),
    (0, 3 * MIB, 3 * MIB, [(0, MIB, True), (MIB, 2 * MIB, False), (2 * MIB, 3 * MIB, True)]),
    (0, MIB + MIB // 2, MIB + MIB // 2, [(0, MIB, True), (MIB, MIB + MIB // 2, True)]),
    (0, 100, 512, [(0, 100, True)]),
])  # fmt: skip
def test_split(offset, length, size, expected):
    assert split(offset, length, size) == expected


@pytest.mark.parametrize("size", [512, MIB, 2 * MIB - 512, 2 * MIB, 5 * MIB + 512])
def test_pieces_cover_a_write_and_hold_back_exactly_the_ends(size):
    for step in (4096, MIB, 3 * MIB):
        held = free = at = 0
        for offset in range(0, size, step):
            for start, end, keep in split(offset, min(step, size - offset), size):
                assert start == at < end
                at = end
                held, free = (held + end - start, free) if keep else (held, free + end - start)
        assert at == size
        assert held == min(size, 2 * MIB)
        assert free == size - held


@pytest.fixture
def target(tmp_path):
    """A target on a file of 4 MiB of garbage: what it does with a disk needs no disk."""
    path = tmp_path / "disk"
    path.write_bytes(b"\xa5" * 4 * MIB)
    target = Target.__new__(Target)
    target.device, target.size, target.written = str(path), 4 * MIB, 0
    target.fd = os.open(path, os.O_RDWR)
    target._held, target._window = [], (0, 0)
    yield target
    target.close()


def content(target):
    return os.pread(target.fd, 4 * MIB, 0)


def test_the_ends_come_with_finish(target):
    image = os.urandom(4 * MIB)
    target.begin()
    target.write(memoryview(image))
    assert content(target) == bytes(MIB) + image[MIB : 3 * MIB] + bytes(MIB)
    target.finish()
    assert content(target) == image


def test_abandon_wipes_ends_that_were_written_already(target):
    target.begin()
    target.write(memoryview(os.urandom(4 * MIB)))
    target.finish()
    target.abandon()
    data = content(target)
    assert data[:MIB] == data[-MIB:] == bytes(MIB)


def test_nothing_is_written_beyond_the_end(target):
    with pytest.raises(Failed, match="the image is larger"):
        target.write(memoryview(bytes(4 * MIB + 1)))
    assert content(target) == b"\xa5" * 4 * MIB


def test_old_windows_are_pushed_out(target, monkeypatch):
    pushed = []
    monkeypatch.setattr("agent_router.image.target.WINDOW", MIB)
    monkeypatch.setattr("agent_router.image.target._sync_range", lambda fd, *what: pushed.append(what))
    for _ in range(3):
        target.write(memoryview(bytes(MIB)))
    assert pushed == [(0, MIB, 2), (MIB, 2 * MIB, 2), (0, MIB, 7), (2 * MIB, 3 * MIB, 2), (MIB, 2 * MIB, 7)]
