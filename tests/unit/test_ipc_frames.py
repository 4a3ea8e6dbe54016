import random

import pytest

from agent_router.ipc.frames import LARGE, LENGTHS, MAX_BODY, MAX_HEAD, Frames, pack
from tests.support.seeds import seeds

FRAMES = [({"op": "run", "text": "ü\n"}, b""), ({}, b"{}"), ({"n": 5}, bytes(range(256))), ({"op": "end"}, b"x" * 5000)]


def heads_and_bodies(frames):
    return [(eval(head, {"true": True, "null": None}), body) for head, body in frames]


def test_frames_at_once():
    assert heads_and_bodies(Frames().feed(b"".join(pack(*frame) for frame in FRAMES))) == FRAMES


def test_split_at_every_byte():
    data = b"".join(pack(*frame) for frame in FRAMES[:3])
    for at in range(len(data) + 1):
        frames = Frames()
        assert heads_and_bodies(frames.feed(data[:at]) + frames.feed(data[at:])) == FRAMES[:3]


def test_byte_by_byte():
    frames, found = Frames(), []
    for byte in b"".join(pack(*frame) for frame in FRAMES * 2):
        found += frames.feed(bytes([byte]))
    assert heads_and_bodies(found) == FRAMES * 2


@seeds(50)
def test_in_pieces_of_any_size(seed):
    source = random.Random(seed)
    data = b"".join(pack(*source.choice(FRAMES)) for _ in range(20))
    frames, found, at = Frames(), [], 0
    while at < len(data):
        size = source.choice([1, 3, 7, 100, 4096, 20_000])
        found += frames.feed(data[at : at + size])
        at += size
    assert found == Frames().feed(data)
    assert len(found) == 20


def test_a_large_body_in_pieces():
    data = pack({"a": 1}, b"y" * (8 << 20)) + pack({"b": 2})
    frames, found = Frames(), []
    for at in range(0, len(data), 65536):
        found += frames.feed(data[at : at + 65536])
    assert [len(body) for _, body in found] == [8 << 20, 0]


@seeds(20)
def test_large_ones_among_small_ones(seed):
    source = random.Random(seed)
    sizes = [0, 1, LARGE - 1, LARGE, LARGE + 1, 300_000]
    sent = [({"x": "y" * source.choice(sizes)}, source.randbytes(source.choice(sizes))) for _ in range(12)]
    data = b"".join(pack(*frame) for frame in sent)
    frames, found, at = Frames(), [], 0
    while at < len(data):
        size = source.choice([5, 4096, 65536, 400_000])
        found += frames.feed(data[at : at + size])
        at += size
    assert heads_and_bodies(found) == sent


@pytest.mark.parametrize("lengths", [(MAX_HEAD + 1, 0), (0, MAX_BODY + 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_what_is_no_frame(lengths):
    with pytest.raises(ValueError, match="not a frame"):
        Frames().feed(LENGTHS.pack(*lengths))
    assert Frames().feed(b"GET / HTT"[:7]) == []
    with pytest.raises(ValueError, match="not a frame"):
        Frames().feed(b"GET / HTTP/1.1\r\n")
