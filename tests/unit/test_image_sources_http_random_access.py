"""read_at(): parts from anywhere, before the image is read in order."""

import os

import pytest

from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources import Spec
from agent_router.image.sources.http.source import HttpSource
from agent_router.plugin import Failed
from tests.support.image_server import read_all
from tests.support.waiting import HANG_S

IMAGE = os.urandom(900_001)


@pytest.fixture
def server(serve):
    made = serve(IMAGE)
    made.keep = True
    return made


@pytest.fixture
def source(server):
    made = HttpSource(Spec(server.url, patience_s=HANG_S))
    made.open()
    yield made
    made.close()


def test_parts_come_over_one_connection_of_their_own(server, source):
    for offset, length in ((0, 512), (800_000, 100), (5, 70_000)):
        assert source.read_at(offset, length) == IMAGE[offset : offset + length]
    assert server.connections == 2
    assert source.offset == 0
    assert [request.get("If-Range") for request in server.requests] == [None, *['"one"'] * 3]
    assert read_all(source) == IMAGE


def test_where_the_image_ends(source):
    assert source.read_at(len(IMAGE) - 3, 10) == IMAGE[-3:]
    assert source.read_at(len(IMAGE), 10) == b""
    assert source.read_at(0, 0) == b""


def test_where_the_image_ends_if_nobody_tells_its_size(server):
    server.chunked = True
    source = HttpSource(Spec(server.url, patience_s=HANG_S))
    source.open()
    assert source.size is None
    assert source.read_at(len(IMAGE) - 3, 10) == IMAGE[-3:]
    source.close()


def test_a_server_that_hangs_up_between_the_parts(server, source):
    server.keep = False
    assert [source.read_at(at, 10) for at in (0, 50)] == [IMAGE[:10], IMAGE[50:60]]
    assert server.connections == 3


def test_parts_in_pieces(server, source):
    server.part_limit = 1000
    assert source.read_at(100, 2500) == IMAGE[100:2600]
    assert server.ranges_asked()[1:] == ["bytes=100-2599", "bytes=1100-2599", "bytes=2100-2599"]


def test_a_connection_that_breaks_within_a_part(server, source):
    server.cut_after, server.statuses = 700, [503]
    server.on_request = lambda habits: len(habits.requests) == 4 and setattr(habits, "cut_after", None)
    assert source.read_at(100, 2500) == IMAGE[100:2600]


@pytest.mark.parametrize("habits", [{"ranges": False}, {"statuses": [400]}, {"statuses": [416]}, {"statuses": [501]}])
def test_a_server_without_range(server, source, habits):
    vars(server).update(habits)
    with pytest.raises(InOrderOnly):
        source.read_at(0, 10)
    assert read_all(source) == IMAGE


@pytest.mark.parametrize(("habits", "sentence"), [
    ({"etag": '"two"'}, "was replaced"), ({"shift": 1}, "answered with bytes 1-10"), ({"total": 7}, "answered with"),
    ({"total": 900_002}, "has 900002 bytes now"),
])  # fmt: skip
def test_parts_of_something_else(server, source, habits, sentence):
    vars(server).update(habits)
    with pytest.raises(Failed, match=sentence) as failed:
        source.read_at(0, 10)
    assert failed.value.code == "connection_lost"


def test_a_status_instead(server, source):
    server.statuses = [404]
    with pytest.raises(Failed, match="HTTP 404"):
        source.read_at(0, 10)
