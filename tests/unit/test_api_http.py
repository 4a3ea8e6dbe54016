import random

import pytest

from agent_router.api import http
from agent_router.api.http import MAX_HEADER, Arrival, TooLarge, response
from tests.support.seeds import seeds

LIMIT = 1000
LINE = b"POST /v1/commands/ HTTP/1.1\r\nHost: a\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"

COMPLETE = [
    b"GET / HTTP/1.1\r\n\r\n",
    LINE + b"\r\n",
    LINE + b"Content-Length: 0\r\n\r\n",
    LINE + b"Content-Length: 5\r\n\r\nhello",
    LINE + b"content-length:   5  \r\nX: y\r\n\r\n\r\n\r\n\r",
    LINE + b"Content-Length: 005\r\n\r\nhello",
    LINE + b"CONTENT-LENGTH: %d\r\n\r\n" % LIMIT + b"x" * LIMIT,
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"9;name=value\r\n0\r\n\r\n0\r\n\r\r\n1\r\nx\r\n0\r\nTrailer: x\r\n\r\n",
    CHUNKED + b"00A\r\n0123456789\r\n000\r\n\r\n",
    # What is wrong is complete too: the parser refuses it.
    b"rubbish\r\n\r\n",
    b"\x16",
    LINE + b"Content-Length: five\r\n\r\n",
    LINE + b"Content-Length: -5\r\n\r\n",
    CHUNKED + b"hello\r\n",
    CHUNKED + b"-6\r\n",
    CHUNKED + b"-ffffffff\r\n",
    CHUNKED + b"\r\n",
]  # fmt: skip


def ids(data):
    return data[-30:].decode()


@pytest.mark.parametrize("data", COMPLETE, ids=ids)
def test_a_request_is_complete_with_its_last_byte(data):
    assert Arrival(LIMIT).feed(data)
    arrival = Arrival(LIMIT)
    done = [arrival.feed(data[at : at + 1]) for at in range(len(data))]
    assert done == [False] * (len(data) - 1) + [True]
    assert arrival.data == data


@pytest.mark.parametrize("data", COMPLETE, ids=ids)
def test_split_at_every_byte(data):
    for at in range(1, len(data)):
        arrival = Arrival(LIMIT)
        assert (arrival.feed(data[:at]), arrival.feed(data[at:])) == (False, True)
        assert arrival.data == data


@seeds(100)
def test_random_chunks_in_random_pieces(seed):
    source = random.Random(seed)
    chunks = [bytes(source.choices(b"\r\n0a;x", k=source.randrange(1, 60))) for _ in range(source.randrange(8))]
    data = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    arrival, at = Arrival(LIMIT), 0
    while at < len(data):
        size = source.randrange(1, 40)
        assert arrival.feed(data[at : at + size]) == (at + size >= len(data))
        at += size
    assert arrival.data == data


def test_the_body_of_a_measured_request():
    arrival = Arrival(LIMIT)
    arrival.feed(LINE + b"Content-Length: 5\r\n\r\nhello and more")
    assert arrival.body() == b"hello"
    arrival = Arrival(LIMIT)
    arrival.feed(LINE + b"\r\n")
    assert arrival.body() == b""
    arrival = Arrival(LIMIT)
    arrival.feed(CHUNKED + b"0\r\n\r\n")
    assert arrival.body() is None


def refusal(data, size):
    arrival = Arrival(LIMIT)
    with pytest.raises(TooLarge) as caught:
        for at in range(0, len(data), size):
            assert not arrival.feed(data[at : at + size])
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
], ids=["413-a", "413-b", "413-c", "413-d", "413-e", "431-a", "431-b", "431-c"])  # fmt: skip
def test_limits_hold_however_the_bytes_arrive(data, status, size):
    if size > 1 or len(data) < 10_000:  # byte by byte is quadratic; the short ones show it
        assert refusal(data, size) == status


def test_the_limits_themselves_are_allowed():
    header = LINE + b"X: "
    header += b"x" * (MAX_HEADER - len(header))
    assert Arrival(LIMIT).feed(header + b"\r\n\r\n")
    assert Arrival(0).feed(LINE + b"Content-Length: 0\r\n\r\n")


@pytest.mark.parametrize(("header", "expects"), [
    (b"Expect: 100-continue\r\n", True), (b"EXPECT: 100-Continue\r\n", True), (b"X: expect: 100-continue\r\n", False),
    (b"", False),
])  # fmt: skip
def test_a_client_that_waits_for_100_continue(header, expects):
    arrival = Arrival(LIMIT)
    assert not arrival.feed(LINE + header + b"Content-Length: 5\r\n\r\n")
    assert arrival.expects_continue == expects


@pytest.mark.parametrize("parts", [[b"{}"], [b"x" * 100_000], [b"[", b"1", b"", b"]"]])
def test_an_answer(parts):
    head, _, body = b"".join(response(404, parts)).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 404 Not Found"
    assert f"Content-Length: {len(body)}" in lines
    assert {"Content-Type: application/json", "Connection: close", "Cache-Control: no-store"} <= set(lines)
    assert body == b"".join(parts)


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_a_huge_body_is_held_once(monkeypatch, step):
    monkeypatch.setattr(http, "HUGE", 300)
    head, body = LINE + b"Content-Length: 300\r\n\r\n", bytes(range(200)) + bytes(100)
    arrival, data = Arrival(LIMIT), head + body
    done = [arrival.feed(data[at : at + step]) for at in range(0, len(data), step)]
    assert done == [False] * (len(done) - 1) + [True]
    assert (arrival.data, arrival.body(), arrival.length) == (head, body, len(data))
    assert isinstance(arrival.body(), bytearray)
    small = Arrival(LIMIT)
    assert small.feed(LINE + b"Content-Length: 299\r\n\r\n" + bytes(299))
    assert isinstance(small.body(), bytes)
