import socket
import time

import pytest

from agent_router.image.sources.http import dial as dial_module
from agent_router.image.sources.http.dial import dial


def listening(address, full=False):
    """A listener; `full` is one whose queue is full: further connections get no answer."""
    made = socket.create_server((address, 0), backlog=0 if full else None)
    if full:
        return made, [connecting(made.getsockname()) for _ in range(3)]
    return made, []


def connecting(place):
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(place)
    return one


def found(*places):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]


def test_addresses_that_do_not_answer_cost_a_moment_each(monkeypatch):
    (good, _), (dead, kept), (gone, _) = (
        listening("127.0.0.1"),
        listening("127.0.0.2", full=True),
        listening("127.0.0.3"),
    )
    refused = gone.getsockname()
    gone.close()
    addresses = found(dead.getsockname(), dead.getsockname(), refused, good.getsockname())
    monkeypatch.setattr(dial_module.socket, "getaddrinfo", lambda *_, **__: addresses)
    began = time.monotonic()
    with dial(("x", 1), 60.0) as sock:
        assert sock.getpeername() == good.getsockname()
        assert sock.gettimeout() == 60
    assert time.monotonic() - began < 30, "not the timeout of one of them"
    for one in (good, dead, *kept):
        one.close()


def test_nobody_answers(monkeypatch):
    dead, kept = listening("127.0.0.2", full=True)
    monkeypatch.setattr(dial_module.socket, "getaddrinfo", lambda *_, **__: found(dead.getsockname()))
    with pytest.raises(TimeoutError):
        dial(("x", 1), 0.3)
    for one in (dead, *kept):
        one.close()


def test_all_refuse():
    gone, _ = listening("127.0.0.1")
    place = gone.getsockname()
    gone.close()
    with pytest.raises(ConnectionRefusedError):
        dial(place, 5.0)


def test_families_take_turns():
    six, four = (socket.AF_INET6, 1), (socket.AF_INET, 1)
    assert dial_module._in_turn([six, six, six, four]) == [six, four, six, six]
