import pytest

from agent_router.image.gate import Gate, refuse_sectors
from agent_router.plugin import Failed, Incompatible

GPT = b"EFI PART"


class Place:
    """A disk of 512-byte sectors that notes what is asked of it."""

    sector, size = 512, 1 << 20

    def __init__(self):
        self.calls, self.written, self.start = [], 0, b""

    def begin(self):
        self.calls.append("begin")

    def expect(self, size):
        self.calls.append("expect")

    def write(self, offset, data):
        self.calls.append((offset, len(data)))
        self.written = max(self.written, offset + len(data))
        if offset == len(self.start):
            self.start += bytes(data)

    def zero(self, offset, length):
        self.calls.append((offset, length, 0))
        self.written = max(self.written, offset + length)

    def head(self, length):
        return self.start[:length]

    def flush(self):
        self.calls.append("flush")


def test_the_place_is_begun_with_the_first_byte_and_not_before():
    place = Place()
    gate = Gate(place, "x")
    gate.expect(700)
    assert not gate.begun
    gate.zero(512, 88)
    assert gate.begun
    gate.write(0, b"x" * 512)
    gate.flush()
    assert place.calls == ["expect", "begin", (512, 88, 0), (0, 512), (600, 100, 0), "flush"]


def test_an_image_for_other_sectors_is_refused_before_the_first_write():
    place = Place()
    with pytest.raises(Incompatible, match="sectors of 4096"):
        Gate(place, "x").write(0, bytes(4096) + GPT)
    assert place.calls == []


def test_one_that_comes_in_small_pieces_is_refused_in_the_end():
    place = Place()
    gate = Gate(place, "x")
    for byte in bytes(4096) + GPT:
        gate.write(place.written, bytes([byte]))
    with pytest.raises(Incompatible):
        gate.flush()
    assert "flush" not in place.calls


def test_nothing_at_all_is_no_image():
    with pytest.raises(Failed, match="x unpacks to nothing"):
        Gate(Place(), "x").flush()


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
