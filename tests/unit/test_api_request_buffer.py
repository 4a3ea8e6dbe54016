import random

import pytest

from agent_router.api.request_buffer import BYTES_PER_LINE, MAX_HEADER, MIN_LINES, RequestBuffer
from agent_router.ipc import spool
from agent_router.schema.problems import RequestError
from tests.support.seeds import seeds

LIMIT = 1000
LINE = b"POST /v1/commands/ HTTP/1.1\r\nHost: a\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"

COMPLETE = [
    (b"GET / HTTP/1.1\r\n\r\n", b""),
    (LINE + b"\r\n", b""),
    (LINE + b"Content-Length: 0\r\n\r\n", b""),
    (LINE + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    (LINE + b"content-length:   5  \r\nX: y\r\n\r\n\r\n\r\n\r", b"\r\n\r\n\r"),
    (LINE + b"Content-Length: 005\r\n\r\nhello", b"hello"),
    (LINE + b"CONTENT-LENGTH: %d\r\n\r\n" % LIMIT + b"x" * LIMIT, b"x" * LIMIT),
    (CHUNKED + b"0\r\n\r\n", b""),
    (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (CHUNKED + b"9;name=value\r\n0\r\n\r\n0\r\n\r\r\n1\r\nx\r\n0\r\nTrailer: x\r\n\r\n", b"0\r\n\r\n0\r\n\rx"),
    (CHUNKED + b"00A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
    # What is wrong with a header is left to the parser.
    (b"rubbish\r\n\r\n", b""),
    (LINE + b"Content-Length: five\r\n\r\n", b""),
    (LINE + b"Content-Length: -5\r\n\r\n", b""),
]


def ids(value):
    return value[-30:].decode()


@pytest.mark.parametrize(("data", "body"), COMPLETE, ids=ids)
def test_a_request_is_complete_with_its_last_byte(tmp_path, data, body):
    assert RequestBuffer(LIMIT, str(tmp_path)).feed(data)
    buffer = RequestBuffer(LIMIT, str(tmp_path))
    done = [buffer.feed(data[at : at + 1]) for at in range(len(data))]
    assert done == [False] * (len(data) - 1) + [True]
    assert (buffer.header, buffer.body) == (data[: data.index(b"\r\n\r\n") + 4], body)


@pytest.mark.parametrize(("data", "body"), COMPLETE, ids=ids)
def test_split_at_every_byte(tmp_path, data, body):
    for at in range(1, len(data)):
        buffer = RequestBuffer(LIMIT, str(tmp_path))
        assert (buffer.feed(data[:at]), buffer.feed(data[at:])) == (False, True)
        assert (buffer.body, buffer.length) == (body, len(body))


@seeds(100)
def test_random_chunks_in_random_pieces(seed):
    source = random.Random(seed)
    chunks = [bytes(source.choices(b"\r\n0a;x", k=source.randrange(1, 60))) for _ in range(source.randrange(8))]
    data = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    buffer, at = RequestBuffer(LIMIT, "/nonexistent"), 0
    while at < len(data):
        size = source.randrange(1, 40)
        assert buffer.feed(data[at : at + size]) == (at + size >= len(data))
        at += size
    assert buffer.body == b"".join(chunks)


def refusal(data, size):
    buffer = RequestBuffer(LIMIT, "/nonexistent")
    with pytest.raises(RequestError) as caught:
        for at in range(0, len(data), size):
            assert not buffer.feed(data[at : at + size])
    return caught.value.status


@pytest.mark.parametrize("size", [1, 100, 10_000, 1 << 20])
@pytest.mark.parametrize(("data", "status"), [
    (LINE + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1), 413),
    (LINE + b"Content-Length: 99999999999999999999999\r\n\r\n", 413),
    (LINE + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
    (CHUNKED + b"1\r\nx\r\n" * 20_000, 413),
    (CHUNKED + b"ffffff\r\n" + b"x" * (MAX_HEADER + LIMIT), 413),
    (LINE + b"X: " + b"x" * MAX_HEADER, 431),
    (LINE + b"X: " + b"x" * MAX_HEADER + b"\r\n\r\n", 431),
    (b"x" * (MAX_HEADER + 1), 431),
    (b"\x16\x03\x01", 400),
    (CHUNKED + b"hello\r\n", 400),
    (CHUNKED + b"-6\r\n", 400),
    (CHUNKED + b"-ffffffff\r\n", 400),
    (CHUNKED + b"0x5\r\n", 400),
    (CHUNKED + b"1_0\r\n", 400),
    (CHUNKED + b"\r\n", 400),
    (CHUNKED + b"5;" + b"x" * 300, 400),
    (CHUNKED + b"5\r\nhello!\r\n", 400),
    (CHUNKED + b"0\r\n" + b"X: y\r\n" * (MIN_LINES + 1), 400),
])  # fmt: skip
def test_limits_hold_however_the_bytes_arrive(data, status, size):
    if size > 1 or len(data) < 10_000:
        assert refusal(data, size) == status


def test_a_body_of_very_small_chunks_is_refused_before_it_costs_much(tmp_path):
    buffer = RequestBuffer(1 << 20, str(tmp_path))
    chunks = b"1\r\nx\r\n" * MIN_LINES
    with pytest.raises(RequestError, match="too many small chunks"):
        buffer.feed(CHUNKED + chunks)
    line = b"%x\r\n%s\r\n" % (2 * BYTES_PER_LINE, b"x" * 2 * BYTES_PER_LINE)
    assert RequestBuffer(8 << 20, str(tmp_path)).feed(CHUNKED + line * 3 * MIN_LINES + b"0\r\n\r\n")


def test_the_limits_themselves_are_allowed():
    header = LINE + b"X: "
    header += b"x" * (MAX_HEADER - len(header))
    assert RequestBuffer(LIMIT, "").feed(header + b"\r\n\r\n")
    assert RequestBuffer(0, "").feed(LINE + b"Content-Length: 0\r\n\r\n")


@pytest.mark.parametrize(("header", "expects"), [
    (b"Expect: 100-continue\r\n", True), (b"EXPECT: 100-Continue\r\n", True), (b"X: expect: 100-continue\r\n", False),
    (b"", False),
])  # fmt: skip
def test_a_client_that_waits_for_100_continue(header, expects):
    buffer = RequestBuffer(LIMIT, "")
    assert not buffer.feed(LINE + header + b"Content-Length: 5\r\n\r\n")
    assert buffer.expects_continue == expects


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("step", [1000, 65536, 1 << 30])
def test_a_large_body_is_a_file_without_a_name(tmp_path, step, chunked):
    body = random.Random(step).randbytes(spool.LARGE + 1)
    head = CHUNKED if chunked else LINE + b"Content-Length: %d\r\n\r\n" % len(body)
    data = head + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
    buffer = RequestBuffer(2 << 20, str(tmp_path))
    done = [buffer.feed(data[at : at + step]) for at in range(0, len(data), step)]
    assert done == [False] * (len(done) - 1) + [True]
    assert (buffer.body, buffer.length) == (b"", len(body))
    with buffer.spooled.mapped() as content:
        assert content[:] == body
    assert list((tmp_path / "spool").iterdir()) == []
    small = RequestBuffer(2 << 20, str(tmp_path))
    assert small.feed(LINE + b"Content-Length: %d\r\n\r\n" % spool.LARGE + body[:-1])
    assert (small.spooled, small.body) == (None, body[:-1])


def test_no_room_for_a_large_body_is_told():
    buffer = RequestBuffer(2 << 20, "/proc")
    with pytest.raises(RequestError, match="does not fit in the state directory: ") as refused:
        buffer.feed(LINE + b"Content-Length: 1100000\r\n\r\n" + bytes(1100000))
    assert (refused.value.status, refused.value.code) == (503, "state_full")
