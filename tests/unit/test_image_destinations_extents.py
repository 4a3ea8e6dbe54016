import random

from agent_router.image.destinations.extents import Extents


def test_in_order_it_is_one_range():
    extents = Extents()
    for start in range(0, 100, 10):
        extents.add(start, start + 10)
    assert extents._starts == [0]
    assert list(extents.gaps(100)) == []
    assert list(extents.gaps(120)) == [(100, 120)]


def test_in_any_order_and_overlapping():
    rng = random.Random(3)
    for _ in range(300):
        extents, given = Extents(), set()
        for _ in range(rng.randrange(12)):
            start = rng.randrange(50)
            end = start + rng.randrange(1, 9)
            extents.add(start, end)
            given |= set(range(start, end))
        size = rng.randrange(70)
        gaps = {at for start, end in extents.gaps(size) for at in range(start, end)}
        assert gaps == set(range(size)) - given
