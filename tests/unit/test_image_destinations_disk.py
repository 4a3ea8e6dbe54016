import os

import pytest

from agent_router.image.destinations import disk as disk_module
from agent_router.image.destinations import writeback
from agent_router.image.destinations.disk import MIB, Disk, refuse_part_sector, refuse_sectors, split
from agent_router.plugin import Failed, Incompatible


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


SIZE = 6 * MIB


def make(path, zero="auto", max_size=None):
    """A disk on a file of garbage: what it does with a disk needs no disk."""
    path.write_bytes(b"\xa5" * SIZE)
    disk = Disk.__new__(Disk)
    disk.device, disk.sector = str(path), 512
    disk._set_up(os.open(path, os.O_RDWR), SIZE, zero, max_size)
    return disk


@pytest.fixture
def disk(tmp_path):
    disk = make(tmp_path / "disk")
    yield disk
    disk.close()


def content(disk):
    return os.pread(disk.fd, SIZE, 0)


def test_the_ends_come_with_finish(disk):
    image = os.urandom(SIZE)
    disk.begin()
    disk.write(0, memoryview(image))
    disk.flush()
    assert content(disk) == bytes(MIB) + image[MIB:-MIB] + bytes(MIB)
    disk.finish()
    assert content(disk) == image


def test_in_any_order_and_what_is_not_given_becomes_zeros(disk):
    image = bytearray(os.urandom(5 * MIB))
    image[MIB + 4096 : MIB + 8192 + 5] = bytes(4096 + 5)
    disk.begin()
    for start, end in ((MIB + 8197, 5 * MIB), (700, MIB + 4096), (0, 700)):
        disk.write(start, image[start:end])
    disk.flush()
    disk.finish()
    assert content(disk) == bytes(image) + bytes(MIB)
    assert (disk.written, disk.zeroed) == (5 * MIB, 4096 + 5)


def test_what_lies_behind_the_image_is_left_but_for_the_end_of_the_disk(disk):
    disk.begin()
    disk.write(0, b"x" * 512)
    disk.flush()
    disk.finish()
    assert content(disk) == b"x" * 512 + bytes(MIB - 512) + b"\xa5" * 4 * MIB + bytes(MIB)


def test_zeros_in_the_ends_stay_zeros(disk):
    disk.begin()
    disk.zero(0, SIZE)
    disk.flush()
    disk.finish()
    assert content(disk) == bytes(SIZE)
    assert disk.written == SIZE


def test_what_somebody_else_wrote_is_left_alone_but_the_ends(disk):
    disk.begin()
    disk.hold(0, b"\1" * MIB)
    os.pwrite(disk.fd, b"\2" * 4 * MIB, MIB)
    disk.mark(MIB, 4 * MIB)
    disk.hold(5 * MIB, b"\3" * MIB)
    disk.flush()
    assert content(disk)[:MIB] == content(disk)[-MIB:] == bytes(MIB)
    disk.finish()
    assert content(disk) == b"\1" * MIB + b"\2" * 4 * MIB + b"\3" * MIB


def test_abandon_wipes_ends_that_were_written_already_and_another_image_may_follow(disk):
    disk.begin()
    disk.write(0, os.urandom(SIZE))
    disk.flush()
    disk.finish()
    disk.abandon()
    data = content(disk)
    assert data[:MIB] == data[-MIB:] == bytes(MIB)
    assert (disk.written, disk.begun) == (0, False)
    disk.begin()
    disk.write(0, b"x" * 512)
    disk.flush()
    disk.finish()
    assert content(disk)[:MIB] == b"x" * 512 + bytes(MIB - 512), "nothing of the first image"


def test_nothing_is_written_beyond_the_end(disk):
    with pytest.raises(Failed, match="the image is larger"):
        disk.write(SIZE - 1, b"xx")
    with pytest.raises(Failed, match=f"the image has {SIZE + 1} bytes"):
        disk.expect(SIZE + 1)
    disk.expect(SIZE)
    assert content(disk) == b"\xa5" * SIZE


def test_what_is_not_whole_sectors_is_refused_untouched_if_that_is_known_and_in_the_end_if_not(disk):
    with pytest.raises(Failed, match="513 bytes, unpacked, and a disk image has whole sectors") as failed:
        disk.begin(513)
    assert (failed.value.code, disk.begun, content(disk)) == ("wrong_size", False, b"\xa5" * SIZE)
    disk.begin()
    disk.write(0, b"x" * 513)
    with pytest.raises(Failed, match="513 bytes"):
        disk.flush()


def test_the_ends_can_be_read_and_changed_before_they_are_written(disk):
    disk.begin()
    disk.write(0, b"x" * SIZE)
    disk.amend(512, b"y" * 512)
    disk.amend(SIZE - 512, b"z" * 512)
    assert disk.read(MIB - 8, 16) == b"x" * 16
    assert disk.read(0, 1536) == b"x" * 512 + b"y" * 512 + b"x" * 512
    assert not any(content(disk)[:MIB])
    disk.flush()
    disk.finish()
    assert content(disk) == b"x" * 512 + b"y" * 512 + b"x" * (SIZE - 1536) + b"z" * 512


def test_a_limit_of_the_request(tmp_path):
    disk = make(tmp_path / "disk", max_size=10)
    with pytest.raises(Failed, match="max_size_bytes allows 10"):
        disk.expect(11)
    disk.expect(10)
    disk.close()


def test_large_holes_are_few_calls(disk, monkeypatch):
    calls = []
    monkeypatch.setattr(disk.zeros, "zero", lambda start, end: calls.append((start, end)))
    disk.begin()
    for start in range(0, SIZE, 64 << 10):
        disk.write(start, bytes(64 << 10))
    disk.flush()
    assert [call for call in calls if call != (0, 0)] == [(MIB, 5 * MIB)]


def test_large_holes_come_last_if_the_source_cannot_wait(disk, monkeypatch):
    calls = []
    monkeypatch.setattr(disk.zeros, "zero", lambda start, end: calls.append((start, end)))
    monkeypatch.setattr(disk_module, "SHORT_HOLE", MIB)
    for last in (True, False):
        disk.holes_last = last
        disk.begin()
        disk.write(MIB, bytes(2 * MIB) + b"x" * 4096)
        disk.write(3 * MIB + 65536, bytes(MIB) + b"x" * 4096)
        disk.write(5 * MIB - 65536, bytes(65536))
        assert ((MIB, 3 * MIB) in calls) is not last
        assert (3 * MIB + 65536, 4 * MIB + 65536) in calls, "a short one is made at once"
        disk.flush()
        assert (MIB, 3 * MIB) in calls
        disk.abandon()
        calls.clear()


@pytest.fixture
def pushed(monkeypatch):
    """What is started (2) and waited for (7), of windows of 1 MiB of which two may wait."""
    found = []
    monkeypatch.setattr(writeback, "WINDOW", MIB)
    monkeypatch.setattr(writeback, "PENDING", 2 * MIB)
    monkeypatch.setattr(writeback, "_sync_range", lambda fd, *what: found.append(what))
    return found


def test_old_windows_are_pushed_out(disk, pushed):
    for number in range(1, 4):
        disk.write(number * MIB, b"x" * MIB)
    assert pushed == [
        (MIB, 2 * MIB, 2),
        (2 * MIB, 3 * MIB, 2),
        (MIB, 2 * MIB, 7),
        (3 * MIB, 4 * MIB, 2),
        (2 * MIB, 3 * MIB, 7),
    ]


def test_a_window_does_not_span_what_lies_between_jumps(disk, pushed):
    half = MIB // 2
    for start in (4 * MIB, MIB, MIB + half + 4096, 3 * MIB):
        disk.write(start, b"x" * half)
    assert pushed == [
        (4 * MIB, 4 * MIB + half, 2),
        (MIB, MIB + half, 2),
        (MIB + half + 4096, 3 * MIB + half, 2),
        (4 * MIB, 4 * MIB + half, 7),
        (MIB, MIB + half, 7),
    ]


GPT = b"EFI PART"


def test_an_image_for_other_sectors_that_comes_in_small_pieces_is_refused_in_the_end(disk):
    disk.begin()
    for byte in bytes(4096) + GPT + bytes(504):
        disk.write(disk.written, bytes([byte]))
    with pytest.raises(Incompatible, match="sectors of 4096"):
        disk.flush()


@pytest.mark.parametrize(("start", "sector", "refused"), [
    (bytes(512) + GPT + bytes(4096), 512, False), (bytes(4096) + GPT, 4096, False),
    (bytes(512) + GPT + bytes(4096), 4096, True), (bytes(4096) + GPT, 512, True),
    (bytes(512) + GPT + bytes(3576) + GPT, 4096, False), (bytes(5000), 4096, False), (b"", 512, False),
])  # fmt: skip
def test_sectors(start, sector, refused):
    if refused:
        with pytest.raises(Incompatible):
            refuse_sectors(start, sector, "x")
    else:
        refuse_sectors(start, sector, "x")


@pytest.mark.parametrize("size", [1, 17, 511, 513, MIB + 1])
def test_what_is_not_whole_sectors_is_no_disk(size):
    with pytest.raises(Failed, match=rf"x has {size} bytes.*truncate --size=%512") as failed:
        refuse_part_sector(size, "x")
    assert failed.value.code == "wrong_size"


@pytest.mark.parametrize("size", [0, 512, 2048, MIB + 512])
def test_whole_sectors_may_be_one(size):
    refuse_part_sector(size, "x")
