import pytest

from agent_router.image.engine.transfer import GuardedSink
from agent_router.plugin import Failed, Incompatible

WRONG = b"wrong"


class Destination:
    """A destination that notes what is asked of it."""

    size = 1 << 20

    def __init__(self):
        self.calls, self.written, self.begun = [], 0, False

    def begin(self, image=0):
        self.calls.append("begin")
        self.begun = True

    def expect(self, size):
        self.calls.append("expect")

    def write(self, offset, data):
        self.calls.append((offset, len(data)))
        self.written = max(self.written, offset + len(data))

    def zero(self, offset, length):
        self.calls.append((offset, length, 0))
        self.written = max(self.written, offset + length)

    def refuse_start(self, start):
        if start == WRONG:
            raise Incompatible("sector_size", "other sectors")

    def flush(self):
        self.calls.append("flush")


def test_the_destination_is_begun_with_the_first_byte_and_not_before():
    destination = Destination()
    sink = GuardedSink(destination, "x")
    sink.expect(700)
    assert not destination.begun
    sink.zero(512, 88)
    assert destination.begun
    sink.write(0, b"x" * 512)
    sink.flush()
    assert destination.calls == ["expect", "begin", (512, 88, 0), (0, 512), (600, 100, 0), "flush"]


def test_an_image_that_is_refused_by_its_start_leaves_the_destination_alone():
    destination = Destination()
    with pytest.raises(Incompatible):
        GuardedSink(destination, "x").write(0, WRONG)
    assert destination.calls == []


def test_an_image_of_zeros_alone_is_one():
    destination = Destination()
    sink = GuardedSink(destination, "x")
    sink.expect(4096)
    sink.flush()
    assert destination.calls == ["expect", "begin", (0, 4096, 0), "flush"]


def test_nothing_at_all_is_no_image():
    with pytest.raises(Failed, match="x unpacks to nothing"):
        GuardedSink(Destination(), "x").flush()
