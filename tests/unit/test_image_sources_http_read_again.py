"""A server without ranges whose connection breaks: all is read again, within bounds."""

import http.client
import os
import threading
import time

import pytest

from agent_router.image.sources import Spec, expand, make
from agent_router.image.sources.http import retry_budget
from agent_router.image.sources.http.source import HttpSource, ReadAgain
from agent_router.plugin import Failed
from tests.support.image_server import read_all
from tests.support.waiting import HANG_S

MIB = 1 << 20
IMAGE = os.urandom(3 * MIB + 4321)


@pytest.fixture
def server(serve):
    made = serve(IMAGE)
    made.ranges, made.cut_after = False, 2 * MIB
    return made


def by_request(server, *habits):
    """Habits of the second request, the third and so on; those of the last stay."""

    def change(server):
        vars(server).update(habits[min(len(server.requests) - 2, len(habits) - 1)] if len(server.requests) > 1 else {})

    server.on_request = change


def source(server, **more) -> HttpSource:
    return HttpSource(Spec(server.url, **{"patience_s": HANG_S, **more}))


def failure(made) -> Failed:
    with pytest.raises(Failed) as failed:
        read_all(made)
    return failed.value


@pytest.mark.parametrize(("habits", "more"), [
    ({}, {}),
    ({"etag": None, "modified_s_ago": 3600}, {}),
    ({"etag": None}, {"digest_known": True}),
    ({"etag": 'W/"weak"'}, {"digest_known": True}),
    ({"chunked": True}, {}),
])  # fmt: skip
def test_it_is_read_from_the_start_again(server, habits, more):
    vars(server).update(habits)
    by_request(server, {"cut_after": None})
    made = source(server, **more)
    assert read_all(made, MIB) == IMAGE
    assert (made.offset, made.size, made.resumed) == (len(IMAGE), len(IMAGE), 1)
    assert made.stats() == {"bytes_read_again": 2 * MIB}


def test_nothing_read_twice_is_not_told(server):
    server.cut_after = None
    made = source(server)
    assert read_all(made) == IMAGE
    assert made.stats() == {}


@pytest.mark.parametrize(("change", "more", "sentence"), [
    ({"etag": None}, {}, "no ETag or digest tells whether it is the same image"),
    ({"etag": '"two"'}, {}, "was replaced while it was read"),
    ({"body": IMAGE + b"x"}, {"digest_known": True}, f"has {len(IMAGE) + 1} bytes now and had {len(IMAGE)} before"),
])  # fmt: skip
def test_not_if_it_may_be_another_image(server, change, more, sentence):
    by_request(server, {"cut_after": None, **change})
    error = failure(source(server, **more))
    assert error.code == "connection_lost"
    assert sentence in error.message
    assert len(server.requests) == 2


def test_a_size_that_is_known_only_now_and_is_too_small(server):
    server.chunked = True
    by_request(server, {"chunked": False, "body": IMAGE[:MIB]})
    assert f"has {MIB} bytes now and had more before" in failure(source(server)).message


def test_a_redirect_to_another_place_vouches_for_nothing(server):
    by_request(server, {"cut_after": None, "redirects": {"/disk.raw": "/other.raw"}})
    assert "no ETag or digest" in failure(source(server)).message


@pytest.mark.parametrize("place", [1000, 2 * MIB])
@pytest.mark.parametrize("chunked", [False, True])
def test_one_that_always_breaks_at_the_same_place_is_given_up(server, place, chunked):
    server.cut_after, server.chunked = place, chunked
    made = source(server, digest_known=True)
    error = failure(made)
    assert error.code == "connection_lost"
    assert "(no Range) and broke off repeatedly before anything new came, after " in error.message
    assert error.message.endswith("; use a web server with ranges, or add a second source")
    # The first reading, three more, and the answer that is not read any more.
    assert (len(server.requests), made.stats()) == (5, {"bytes_read_again": 3 * place})


def test_one_that_breaks_a_byte_later_each_time_is_given_up(server):
    server.on_request = lambda habits: setattr(habits, "cut_after", habits.cut_after + 1)
    assert "repeatedly" in failure(source(server)).message
    assert len(server.requests) == 6, "one of them to see whether it was If-Range that it did not like"


def test_what_brings_something_each_time_is_not(server):
    server.on_request = lambda habits: setattr(habits, "cut_after", len(habits.requests) * MIB // 3)
    made = source(server)
    assert read_all(made) == IMAGE
    assert made.resumed == 8


def test_tries_that_break_sooner_cost_time_only(server):
    by_request(server, *[{"cut_after": 10}] * 4, {"cut_after": None})
    made = source(server)
    assert read_all(made) == IMAGE
    assert made.stats() == {"bytes_read_again": 2 * MIB + 30}


def test_one_that_breaks_sooner_each_time_is_given_up_for_want_of_time(server):
    by_request(server, {"cut_after": 10})
    error = failure(source(server, patience_s=0.6))
    assert error.code == "connection_lost"
    assert "no new byte for 0.6 s" in error.message


def test_a_body_that_ends_before_what_was_there_is_none(server):
    # Nobody tells the length of the second one, so that its end looks like any other.
    server.chunked = True
    short = {"chunked": False, "closes": True, "cut_after": MIB}
    by_request(server, short, short, {"closes": False, "cut_after": None})
    made = source(server)
    assert read_all(made) == IMAGE
    assert made.stats() == {"bytes_read_again": 3 * MIB}


def test_ranges_that_come_back_are_used(server):
    by_request(server, {"cut_after": MIB}, {"cut_after": MIB}, {"ranges": True, "cut_after": None})
    made = source(server)
    assert read_all(made) == IMAGE
    assert server.ranges_asked() == [None, *[f"bytes={2 * MIB}-"] * 3]
    assert made.stats() == {"bytes_read_again": MIB}


def test_time_in_which_it_comes_again_does_not_count(server):
    # 32 pieces, 3.2 s.
    by_request(server, {"cut_after": None, "pause_s": 0.1})
    assert read_all(source(server, patience_s=2)) == IMAGE


def test_one_that_drips_it_again_is_given_up(server):
    by_request(server, {"cut_after": None, "drip": (1, 0.05)})
    error = failure(source(server, patience_s=0.6))
    assert "still reading again what came before; no new byte for 0.6 s" in error.message


def test_close_ends_it_in_another_thread(server):
    by_request(server, {"cut_after": None, "silent_after": MIB})
    made = source(server, patience_s=30)
    threading.Timer(0.5, made.close).start()
    assert failure(made).code == "stopped"


class Clock:
    """A body of `size` bytes, of which each read takes a second and gives `pace` bytes."""

    def __init__(self, size: int, pace: int) -> None:
        self.now, self.size, self.pace = 0.0, size, pace

    def monotonic(self) -> float:
        return self.now

    def readinto(self, buffer: memoryview) -> int:
        self.now += 1
        count = min(self.size, self.pace, len(buffer))
        self.size -= count
        return count


@pytest.mark.parametrize(("pace", "in_time"), [(4096, True), (1 << 18, True), (3000, False)])
def test_only_seconds_in_which_enough_comes_again_are_excused(monkeypatch, pace, in_time):
    clock = Clock(100 * pace, pace)
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    limit = retry_budget.RetryBudget(10)
    again = ReadAgain("x", limit)
    with limit:
        again.start(100 * pace)
        if in_time:
            again.drop(clock)
            assert (clock.now, again.behind, again.count, limit.left_s()) == (100, 0, 100 * pace, 10)
        else:
            with pytest.raises(Failed, match="no new byte for 10 s"):
                again.drop(clock)


def test_a_body_that_is_over_too_early():
    limit = retry_budget.RetryBudget(10)
    again = ReadAgain("x", limit)
    again.start(500)
    with limit, pytest.raises(http.client.IncompleteRead):
        again.drop(Clock(400, 300))
    assert (again.behind, again.count) == (100, 400)


def mirrored(*servers) -> object:
    return make(expand([Spec(server.url, digest_known=True, patience_s=HANG_S) for server in servers], [])[0])


def test_a_mirror_with_ranges_is_asked_before_anything_is_read_twice(serve, server):
    other = serve(IMAGE)
    made = mirrored(server, other)
    assert read_all(made) == IMAGE
    assert (made.name, made.resumed, other.ranges_asked()) == (other.url, 2, [f"bytes={2 * MIB}-"])
    [failed] = made.stats().pop("failed")
    assert (failed["source"], failed["code"]) == (server.url, "connection_lost")
    assert "(no Range)" in failed["message"]
    assert "bytes_read_again" not in made.stats()


def test_a_mirror_without_ranges_is_read_again_when_the_others_have_failed(serve, server):
    other = serve(IMAGE)
    other.statuses = [404]
    server.on_request = lambda habits: len(habits.requests) == 3 and setattr(habits, "cut_after", None)
    made = mirrored(server, other)
    assert read_all(made) == IMAGE
    assert (made.name, made.stats()["bytes_read_again"]) == (server.url, 2 * MIB)
    assert [failed["source"] for failed in made.stats()["failed"]] == [server.url, other.url]


def test_mirrors_that_all_have_no_ranges_are_each_read_again_once(serve, server):
    others = [serve(IMAGE), serve(IMAGE)]
    for other in others:
        other.ranges, other.cut_after = False, 2 * MIB
    others[1].on_request = lambda habits: len(habits.requests) == 2 and setattr(habits, "cut_after", None)
    made = mirrored(server, *others)
    assert read_all(made) == IMAGE
    assert made.stats()["bytes_read_again"] == 7 * 2 * MIB
    assert [len(one.requests) for one in (server, *others)] == [6, 5, 2]
    assert [failed["source"] for failed in made.stats()["failed"]] == [
        one.url for one in (server, *others, server, others[0])
    ]
