import hashlib
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from agent_router.image.engine.pipeline import BUFFER, BUFFERS, FirstError, StoppableSink, pump
from agent_router.plugin import Failed
from tests.support.waiting import HANG_S


class Bytes:
    """A source that gives `data` and may raise instead of ending."""

    name = "http://a/x"

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self.data, self.error, self.offset = data, error, 0

    def readinto(self, view: memoryview) -> int:
        piece = self.data[self.offset : self.offset + len(view)]
        if not piece and self.error:
            raise self.error
        view[: len(piece)] = piece
        self.offset += len(piece)
        return len(piece)


class Collector:
    """A decoder that keeps what it gets."""

    def __init__(self, feed=None):
        self.data, self.finished = bytearray(), False
        self.feed = feed or (lambda view: self.data.extend(view))

    def finish(self):
        self.finished = True


def ignore(*args: object) -> None:
    pass


def run(source, decoder, *hashers, crew=None):
    pump(source, hashers, decoder, crew or FirstError(), ignore)


def test_copies_in_order_and_digests():
    data, decoder = os.urandom(BUFFER * (BUFFERS + 3) + 17), Collector()
    digests = [hashlib.sha256(), hashlib.md5()]
    run(Bytes(data), decoder, *(digest.update for digest in digests))
    assert bytes(decoder.data) == data
    assert [digest.digest() for digest in digests] == [hashlib.sha256(data).digest(), hashlib.md5(data).digest()]
    assert decoder.finished


def test_the_decoder_gets_the_very_buffers_that_were_read_into():
    seen = set()
    run(Bytes(bytes(BUFFER * 50)), Collector(lambda view: seen.add(id(view.obj))))
    assert len(seen) <= BUFFERS


def test_a_failing_writer_stops_the_reading_and_is_raised():
    source = Bytes(bytes(BUFFER * 100))

    def full(data):
        raise OSError(28, "No space left on device")

    out = Collector(full)
    with pytest.raises(OSError, match="No space"):
        run(source, out)
    assert source.offset < BUFFER * 100
    assert not out.finished


def test_nothing_is_written_any_more_when_a_broken_source_is_reported():
    written, before = [], threading.active_count()

    def slow(view):
        time.sleep(0.01)  # longer than reading takes
        written.append(len(view))

    with pytest.raises(ValueError, match="cut"):
        run(Bytes(bytes(BUFFER * 5), ValueError("cut")), Collector(slow))
    count = len(written)
    time.sleep(0.05)  # one more would be written by then
    assert len(written) == count
    assert threading.active_count() == before


def test_a_decoder_that_unpacks_without_end_is_stopped():
    """A few bytes may unpack to terabytes of zeros: the one who reads must not wait for all of them."""
    crew, busy = FirstError(), threading.Event()
    sink = StoppableSink(SimpleNamespace(write=ignore), crew)

    def feed(view):
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            sink.write(0, b"0" * 100)
            busy.set()
        ends.append("by itself")

    class Cut(Bytes):
        def readinto(self, view):
            if self.offset:
                busy.wait()
            return super().readinto(view)

    ends = []
    with pytest.raises(ValueError, match="cut"):
        run(Cut(bytes(10), ValueError("cut")), Collector(feed), crew=crew)
    assert ends == []


def test_an_error_of_reading_a_disk_is_one_of_the_source():
    with pytest.raises(Failed, match="http://a/x: Input/output error") as failed:
        run(Bytes(b"", OSError(5, "Input/output error")), Collector())
    assert failed.value.code == "connection_lost"


def test_a_signal_while_the_last_buffers_are_written_ends_all_threads_first():
    class Stop(BaseException):
        pass

    def stop(*args):
        raise Stop

    def slow(view):
        nonlocal busy, count
        busy, count = True, count + 1
        if count == 5:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)  # it is still at it when the signal has come
        busy = False

    busy, count, before = False, 0, signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stop):
            run(Bytes(bytes(BUFFER * 6)), Collector(slow))
        assert not busy
    finally:
        signal.signal(signal.SIGTERM, before)
