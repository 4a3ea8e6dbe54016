import hashlib
import os
import threading
import time

import pytest

from agent_router.image.pipeline import BUFFER, BUFFERS, pump


class Bytes:
    """A source that gives `data` and may raise instead of ending."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self.data, self.error, self.offset = data, error, 0

    def readinto(self, view: memoryview) -> int:
        piece = self.data[self.offset : self.offset + len(view)]
        if not piece and self.error:
            raise self.error
        view[: len(piece)] = piece
        self.offset += len(piece)
        return len(piece)


def ignore(*args: object) -> None:
    pass


def test_copies_in_order_and_digests():
    data = os.urandom(BUFFER * (BUFFERS + 3) + 17)
    out = bytearray()
    seen: list[int] = []
    digest = pump(Bytes(data), out.extend, first=lambda view: seen.append(len(view)), progress=ignore)
    assert bytes(out) == data
    assert digest == hashlib.sha256(data).hexdigest()
    assert seen == [BUFFER]


def test_a_failing_writer_stops_the_reading_and_is_raised():
    source = Bytes(bytes(BUFFER * 100))

    def full(view):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        pump(source, full, first=ignore, progress=ignore)
    assert source.offset < BUFFER * 100


def test_nothing_is_written_any_more_when_a_broken_source_is_reported():
    written, before = [], threading.active_count()

    def slow(view):
        time.sleep(0.01)
        written.append(len(view))

    with pytest.raises(ValueError, match="cut"):
        pump(Bytes(bytes(BUFFER * 5), ValueError("cut")), slow, first=ignore, progress=ignore)
    count = len(written)
    time.sleep(0.05)
    assert len(written) == count
    assert threading.active_count() == before


def test_what_is_refused_at_first_sight_is_not_written():
    written = []

    def refuse(view):
        raise ValueError("qcow2")

    with pytest.raises(ValueError, match="qcow2"):
        pump(Bytes(b"QFI"), written.append, first=refuse, progress=ignore)
    assert written == []
