import pytest

from agent_router.image.target import MIB, split


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
