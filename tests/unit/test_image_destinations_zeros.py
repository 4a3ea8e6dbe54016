import errno
import os
import random

import pytest

from agent_router.image.destinations import zeros
from agent_router.image.destinations.zeros import GRAIN, PAGE, Zeroer, runs


@pytest.mark.parametrize(("data", "offset", "expected"), [
    (b"", 0, []),
    (bytes(3 * GRAIN), 0, [(0, 3 * GRAIN, True)]),
    (b"x" * 10, 5, [(0, 10, False)]),
    (bytes(GRAIN) + b"x" + bytes(2 * GRAIN), 0,
     [(0, GRAIN, True), (GRAIN, 2 * GRAIN, False), (2 * GRAIN, 3 * GRAIN + 1, True)]),
    # Grains lie on the disk, not in the data.
    (b"x" * 100 + bytes(GRAIN), GRAIN - 100, [(0, 100, False), (100, GRAIN + 100, True)]),
])  # fmt: skip
def test_runs(data, offset, expected):
    assert list(runs(memoryview(data), offset)) == expected


def test_runs_cover_everything_and_call_nothing_zeros_that_is_not():
    rng = random.Random(7)
    for _ in range(200):
        data = bytearray(rng.randrange(1, 6 * GRAIN))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = 1
        at = 0
        for start, end, is_zeros in runs(memoryview(data), rng.randrange(3 * GRAIN)):
            assert start == at < end
            assert not is_zeros or data.count(0, start, end) == end - start
            at = end
        assert at == len(data)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xa5" * (64 * PAGE))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("mode", zeros.MODES)
@pytest.mark.parametrize(("start", "end"), [
    (0, 64 * PAGE), (1, 2), (PAGE - 1, PAGE + 1), (100, 9 * PAGE + 7), (PAGE, 2 * PAGE), (5, 5),
    (PAGE + 1, 2 * PAGE - 1),
])  # fmt: skip
def test_exactly_the_range_becomes_zeros(file, mode, start, end):
    Zeroer(file, mode).zero(start, end)
    data = os.pread(file, 64 * PAGE, 0)
    assert data == b"\xa5" * start + bytes(end - start) + b"\xa5" * (64 * PAGE - end)


def test_what_the_disk_cannot_is_not_asked_of_it_again(file, monkeypatch):
    asked = []

    def cannot(self, start, length):
        asked.append(start)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Zeroer, "_punch", cannot)
    zeroer = Zeroer(file, "auto")
    zeroer.zero(0, PAGE)
    zeroer.zero(PAGE, 2 * PAGE)
    assert asked == [0]
    assert os.pread(file, 2 * PAGE, 0) == bytes(2 * PAGE)


def test_a_failing_disk_is_not_taken_for_one_that_cannot(file, monkeypatch):
    def fails(self, start, length):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Zeroer, "_punch", fails)
    with pytest.raises(OSError, match="Input/output"):
        Zeroer(file, "auto").zero(0, PAGE)
