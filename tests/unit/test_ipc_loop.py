import contextlib
import os
import select
import socket
import time

import pytest

from agent_router.ipc import connection as connection_module
from agent_router.ipc.connection import Connection
from agent_router.ipc.frames import Frames, pack
from agent_router.ipc.loop import Loop
from tests.support.waiting import HANG_S


@pytest.fixture
def loop():
    return Loop()


def turn(loop, until):
    give_up = time.monotonic() + HANG_S
    while not until():
        assert time.monotonic() < give_up
        loop.later(0.02, lambda: None)
        loop.run_once()


def test_timers_run_in_their_order(loop):
    said, start = [], time.monotonic()
    for number, delay in enumerate([0.03, 0.01, 0.02, 0.01, 0, -5]):
        loop.later(delay, said.append, number)
    turn(loop, lambda: len(said) == 6)
    assert said == [5, 4, 1, 3, 2, 0]
    assert time.monotonic() - start >= 0.03


def test_a_timer_may_set_another(loop):
    said = []
    loop.later(0, lambda: loop.later(0, said.append, "second"))
    turn(loop, lambda: said == ["second"])


def test_a_cancelled_timer_does_not_run(loop):
    said = []
    loop.cancel(None)
    for number in range(1000):
        timer = loop.later(0.01 + number * 1e-6, said.append, number)
        if number % 100:
            loop.cancel(timer)
            loop.cancel(timer)
    turn(loop, lambda: len(said) >= 10)
    assert said == [*range(0, 1000, 100)]


def test_cancelled_timers_do_not_pile_up(loop):
    for _ in range(10_000):
        loop.cancel(loop.later(3600, print))
    assert len(loop._timers) < 500


def test_descriptors(loop):
    reader, writer = os.pipe()
    said = []
    loop.watch(reader, lambda events: said.append((events, os.read(reader, 10))))
    os.write(writer, b"x")
    turn(loop, lambda: said)
    assert said == [(select.EPOLLIN, b"x")]
    loop.unwatch(reader)
    os.write(writer, b"y")
    loop.later(0.02, lambda: None)
    loop.run_once()
    loop.unwatch(reader)
    assert len(said) == 1


def test_an_event_of_a_closed_descriptor_reaches_nobody_in_the_same_batch(loop):
    """Both are ready; whichever handler runs first ends the other."""
    pipes = [os.pipe() for _ in range(2)]
    said = []

    def end_the_other(number):
        said.append(number)
        loop.unwatch(pipes[1 - number][0])
        os.close(pipes[1 - number][0])

    for number, (reader, writer) in enumerate(pipes):
        os.write(writer, b"x")
        loop.watch(reader, lambda _, number=number: end_the_other(number))
    loop.run_once()
    assert len(said) == 1


# ---- connections


@pytest.fixture
def pair(loop):
    """A link and the other end of its connection; `heard` and `closed` tell what the link said."""
    ours, theirs = socket.socketpair()
    heard, closed = [], []
    link = Connection(loop, ours, lambda _, head, body: heard.append((head, body)), closed.append)
    link.heard, link.was_closed = heard, closed
    yield link, theirs
    theirs.close()


def received(loop, sock, count):
    frames, found = Frames(), []
    sock.setblocking(False)

    def take():
        with contextlib.suppress(BlockingIOError):
            found.extend(frames.feed(sock.recv(1 << 20)))
        return len(found) >= count

    turn(loop, take)
    return found


def test_frames_both_ways(loop, pair):
    link, other = pair
    other.sendall(pack({"a": 1}, b"body") + pack({"b": 2})[:5])
    turn(loop, lambda: link.heard)
    other.sendall(pack({"b": 2})[5:])
    turn(loop, lambda: len(link.heard) == 2)
    assert link.heard == [(b'{"a":1}', b"body"), (b'{"b":2}', b"")]
    link.send({"c": 3}, b"x")
    assert received(loop, other, 1) == [(b'{"c":3}', b"x")]


def test_a_slow_reader_gets_everything_in_order(loop, pair):
    link, other = pair
    for number in range(40):
        link.send({"n": number}, b"x" * 300_000)
    found = received(loop, other, 40)
    assert [head for head, _ in found] == [b'{"n":%d}' % number for number in range(40)]
    assert {len(body) for _, body in found} == {300_000}
    link.send({"last": 1})
    assert received(loop, other, 1) == [(b'{"last":1}', b"")]


def test_one_who_asks_faster_than_it_reads_is_not_heard_until_it_has_read(loop, pair, monkeypatch):
    monkeypatch.setattr(connection_module, "FULL", 1 << 20)
    link, other = pair
    link._message = lambda _, head, body: (link.heard.append(head), link.send({"to": head.decode()}, b"x" * 400_000))
    other.sendall(pack({}) * 100)
    turn(loop, lambda: link.heard)
    for _ in range(20):
        loop.later(0.002, lambda: None)
        loop.run_once()
    assert len(link.heard) < 10
    assert len(received(loop, other, 100)) == 100
    assert len(link.heard) == 100


def test_one_who_never_reads_is_cut_off(loop, pair, monkeypatch):
    monkeypatch.setattr(connection_module, "MAX_UNSENT", 1 << 20)
    link, _ = pair
    for _ in range(100):
        link.send({}, b"x" * 100_000)
    assert link.was_closed == [link]


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"GET / HTTP/1.1\r\n\r\n"])
def test_the_end_and_rubbish_close_the_link(loop, pair, data):
    link, other = pair
    other.sendall(data)
    other.shutdown(socket.SHUT_WR)
    turn(loop, lambda: link.was_closed)
    assert (link.was_closed, link.heard) == ([link], [])
    link.close()
    link.send({"a": 1})
    assert link.was_closed == [link]


def test_one_who_left_with_answers_unsent(loop, pair):
    link, other = pair
    link.send({}, b"x" * 5_000_000)
    other.close()
    turn(loop, lambda: link.was_closed)
    assert link.was_closed == [link]
