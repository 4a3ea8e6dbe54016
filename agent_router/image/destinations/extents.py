"""A set of byte ranges: which parts of an image were written, in any order."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Extents:
    """Adjacent ranges are merged, so an image written in order is one range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """The ranges below `size` that are not in it."""
        at = 0
        for start, end in zip(self._starts, self._ends, strict=True):
            if start >= size:
                break
            if at < start:
                yield at, start
            at = end
        if at < size:
            yield at, size
