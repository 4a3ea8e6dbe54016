import pytest

from agent_router.image.engine.transfer import GuardedSink, refuse_sectors
from agent_router.plugin import Failed, Incompatible

GPT = b"EFI PART"


class Disk:
    """A disk of 512-byte sectors that notes what is asked of it."""

    device, sector, size = "/dev/x", 512, 1 << 20
    hold = mark = settle = print  # not used here, but a disk has them

    def __init__(self):
        self.calls, self.written, self.start, self.begun = [], 0, b"", False

    def begin(self):
        self.calls.append("begin")
        self.begun = True

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


def test_the_disk_is_begun_with_the_first_byte_and_not_before():
    disk = Disk()
    sink = GuardedSink(disk, "x")
    sink.expect(700)
    assert not disk.begun
    sink.zero(512, 88)
    assert disk.begun
    sink.write(0, b"x" * 512)
    sink.flush()
    assert disk.calls == ["expect", "begin", (512, 88, 0), (0, 512), (600, 100, 0), "flush"]


def test_an_image_for_other_sectors_is_refused_before_the_first_write():
    disk = Disk()
    with pytest.raises(Incompatible, match="sectors of 4096"):
        GuardedSink(disk, "x").write(0, bytes(4096) + GPT)
    assert disk.calls == []


def test_one_that_comes_in_small_pieces_is_refused_in_the_end():
    disk = Disk()
    sink = GuardedSink(disk, "x")
    for byte in bytes(4096) + GPT:
        sink.write(disk.written, bytes([byte]))
    with pytest.raises(Incompatible):
        sink.flush()
    assert "flush" not in disk.calls


def test_nothing_at_all_is_no_image():
    with pytest.raises(Failed, match="x unpacks to nothing"):
        GuardedSink(Disk(), "x").flush()


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
