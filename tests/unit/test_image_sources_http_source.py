"""One image from one web server, however badly it behaves."""

import email.message
import email.utils
import os
import re
import threading
import time

import pytest

from agent_router.image.sources import Spec, make
from agent_router.image.sources.http.connection import retry_after_s
from agent_router.image.sources.http.source import HttpSource
from agent_router.plugin import Failed, InvalidRequest
from tests.support.image_server import read_all
from tests.support.waiting import HANG_S

IMAGE = os.urandom(3 * (1 << 20) + 4321)
DAY_S = 86400


@pytest.fixture
def server(serve):
    return serve(IMAGE)


def source(server, path="", **more) -> HttpSource:
    return HttpSource(Spec(server.url + path, **{"patience_s": HANG_S, **more}))


def failure(server, path="", **more) -> Failed:
    with pytest.raises(Failed) as failed:
        read_all(source(server, path, **{"patience_s": 1, **more}))
    return failed.value


def test_reads_it_all(server):
    made = make(Spec(server.url))
    assert read_all(made) == IMAGE
    assert (made.size, made.offset, made.resumed, made.name) == (len(IMAGE), len(IMAGE), 0, server.url)


@pytest.mark.parametrize("size", [1 << 20, 777])
def test_fills_every_buffer_but_the_last(server, size):
    made = source(server)
    made.open()
    buffer = memoryview(bytearray(size))
    counts = []
    while count := made.readinto(buffer):
        counts.append(count)
    made.close()
    assert set(counts[:-1]) == {size}
    assert sum(counts) == len(IMAGE)


def test_chunked(server):
    server.chunked = True
    assert read_all(source(server)) == IMAGE


def test_a_body_that_ends_with_the_connection(server):
    server.closes = True
    made = source(server)
    assert read_all(made) == IMAGE
    assert made.size == len(IMAGE)


def test_an_empty_image(serve):
    made = source(serve(b""))
    assert read_all(made) == b""
    assert made.size == 0


def test_over_ipv6(serve):
    server = serve(IMAGE, host="::1")
    assert read_all(source(server)) == IMAGE
    assert server.requests[0]["Host"].startswith("[::1]:")


def test_a_broken_connection_is_resumed_with_the_validator(server):
    server.cut_after = 1 << 20
    made = source(server)
    assert read_all(made) == IMAGE
    assert made.resumed == 3
    assert server.ranges_asked() == [None, *(f"bytes={n << 20}-" for n in (1, 2, 3))]
    assert {request.get("If-Range") for request in server.requests[1:]} == {'"one"'}


def test_an_old_last_modified_is_a_validator_too(server):
    server.etag, server.modified_s_ago, server.cut_after = None, DAY_S, 2 << 20
    assert read_all(source(server)) == IMAGE
    assert server.requests[1]["If-Range"].endswith("GMT")


@pytest.mark.parametrize(("etag", "modified_s_ago"), [(None, None), ('W/"weak"', None), (None, 1)])
def test_without_a_strong_validator_only_a_digest_makes_it_safe(server, etag, modified_s_ago):
    server.etag, server.modified_s_ago, server.cut_after = etag, modified_s_ago, 2 << 20
    error = failure(server)
    assert error.code == "connection_lost"
    assert "not safe to resume" in error.message
    assert read_all(source(server, digest_known=True)) == IMAGE
    assert "If-Range" not in server.requests[-1]


def test_parts_smaller_than_asked_for(server):
    server.cut_after, server.part_limit = 1000, 1 << 20
    server.on_request = lambda habits: len(habits.requests) > 1 and setattr(habits, "cut_after", None)
    assert read_all(source(server)) == IMAGE


def test_a_chunked_image_that_broke_at_its_very_end(server):
    server.chunked, server.cut_after = True, len(IMAGE)  # all bytes came, the end did not
    made = source(server)
    assert read_all(made) == IMAGE
    assert made.size == len(IMAGE)


@pytest.mark.parametrize(("habits", "sentence"), [
    ({"etag": '"two"'}, "was replaced while it was read"),
    ({"ranges": False}, r"cannot resume \(no Range\)"),
    ({"shift": 5}, "the server answered with bytes"),
    ({"shift": 5, "part_limit": 1000}, "the server answered with bytes 1048581-"),
    ({"parts": False}, "the server answered with None"),
    ({"total": len(IMAGE) + 1}, "bytes now and had"),
    ({"part_length": 7}, "announced 7 bytes for"),
])  # fmt: skip
def test_a_resume_that_is_not_the_rest_of_the_same_image(server, habits, sentence):
    server.cut_after = 1 << 20

    def change(server):
        if len(server.requests) == 2:
            vars(server).update(habits)

    server.on_request = change
    error = failure(server)
    assert error.code == "connection_lost"
    assert re.search(sentence, error.message)


def test_announced_more_than_there_is(server):
    server.announce = len(IMAGE) + 99
    error = failure(server)
    assert (error.code, error.details) == ("wrong_size", {"expected": len(IMAGE) + 99, "found": len(IMAGE)})


def test_announced_less_than_the_command_says(server):
    server.announce = 1000
    error = failure(server, size_bytes=len(IMAGE))
    assert (error.code, error.details) == ("wrong_size", {"expected": len(IMAGE), "found": 1000})


def test_a_part_though_the_whole_was_asked_for(server):
    server.status = 206
    assert "although the whole was requested" in failure(server).message


@pytest.mark.parametrize("encoding", ["aws-chunked", "identity", "Identity, aws-chunked", "none", "utf-8", ", ,"])
def test_what_object_stores_keep_from_the_upload_changes_nothing(server, encoding):
    server.encoding = encoding
    assert read_all(HttpSource(Spec(server.url))) == IMAGE


@pytest.mark.parametrize(("encoding", "packed"), [
    ("gzip", "gz"), ("X-GZIP", "gz"), ("zstd", "zst"), ("aws-chunked,gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz"),
])  # fmt: skip
def test_a_coding_that_is_the_declared_format_is_how_the_file_is_stored(server, encoding, packed):
    server.encoding = encoding
    assert read_all(HttpSource(Spec(server.url, packed=packed))) == IMAGE
    assert failure(server).code == "encoded"


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip", "deflate", "aws-chunked, zstd"])
def test_compressed_on_the_way(server, encoding):
    server.encoding = encoding
    assert failure(server).code == "encoded"


def test_a_gz_file_that_the_server_declares_to_be_encoded(server):
    server.encoding = "x-gzip"
    assert read_all(source(server, "/../disk.raw.gz")) == IMAGE


@pytest.mark.parametrize(("status", "sentence"), [
    (404, "HTTP 404 Not Found; there is no such file"), (401, "set the header Authorization"), (204, "HTTP 204"),
])  # fmt: skip
def test_a_status_that_will_not_change(server, status, sentence):
    server.statuses = [status] * 2
    error = failure(server, patience_s=9)
    assert (error.code, error.details) == ("http_error", {"status": status})
    assert sentence in error.message
    assert len(server.requests) == 1


def test_a_status_that_may_change(server):
    server.statuses = [503, 429, 500]
    assert read_all(source(server)) == IMAGE


def test_waits_as_long_as_the_server_asks_for(server):
    server.statuses, server.extra = [503], {"Retry-After": "1"}
    started = time.monotonic()
    assert read_all(source(server, patience_s=60)) == IMAGE
    assert time.monotonic() - started >= 1  # a machine that is busy makes it only longer


def test_a_server_that_falls_silent_is_asked_again(server):
    server.silent_after = 1 << 20
    server.on_request = lambda habits: len(habits.requests) > 1 and setattr(habits, "silent_after", None)
    made = source(server, patience_s=0.9)
    assert read_all(made) == IMAGE
    assert made.resumed == 1


def test_a_server_that_stays_silent(server):
    server.silent_after = 1 << 20
    server.on_request = lambda habits: len(habits.requests) > 1 and setattr(habits, "statuses", [503])
    error = failure(server, patience_s=0.6)
    assert error.code == "connection_lost"
    assert "no new byte for 0.6 s" in error.message


def test_a_server_that_drips(server):
    server.drip = (1, 0.05)
    error = failure(server, patience_s=0.5)
    assert error.code == "connection_lost"
    assert "new bytes for 0.5 s" in error.message


def test_a_reader_that_is_slow_itself_is_no_fault_of_the_server(server, monkeypatch):
    real, late_s = time.monotonic, 0
    monkeypatch.setattr(time, "monotonic", lambda: real() + late_s)
    made = source(server, patience_s=60)
    made.open()
    buffer = memoryview(bytearray(1 << 20))
    while made.readinto(buffer):
        late_s += 3600
    made.close()
    assert made.offset == len(IMAGE)


def test_nobody_listens(server):
    server.shutdown()
    server.server_close()
    error = failure(server, patience_s=0.3)
    assert (error.code, error.message) == ("unreachable", f"{server.url}: Connection refused")


def test_an_unknown_host():
    with pytest.raises(Failed, match=r"^http://no\.such\.host\.invalid/x: ") as failed:
        read_all(HttpSource(Spec("http://no.such.host.invalid/x?sig=s3cret", patience_s=0.3)))
    assert failed.value.code == "unreachable"
    assert "s3cret" not in failed.value.message


@pytest.mark.parametrize("closes", [False, True])
def test_close_ends_a_read_in_another_thread(server, closes):
    server.silent_after, server.closes = 1 << 20, closes
    made = source(server, patience_s=30)
    made.open()
    threading.Timer(0.3, made.close).start()
    with pytest.raises(Failed) as failed:
        while made.readinto(memoryview(bytearray(1 << 20))):
            pass
    assert failed.value.code == "stopped"
    made.close()


@pytest.mark.parametrize("url", ["ftp://a/b", "gopher://a", "disk.raw", "http://[::1", "//a/b"])
def test_what_is_no_source(url):
    with pytest.raises((Failed, InvalidRequest)) as failed:
        read_all(make(Spec(url)))
    assert failed.value.code in ("bad_url", "unreachable")


def test_nodes_with_etags_of_their_own_are_one_server_if_a_digest_will_judge(server):
    server.cut_after = 2 << 20
    server.on_request = lambda habits: (
        setattr(habits, "etag", f'"node-{len(habits.requests)}"'),
        len(habits.requests) == 2 and setattr(habits, "cut_after", None),
    )
    assert read_all(source(server, digest_known=True)) == IMAGE
    assert "If-Range" not in server.requests[1]
    assert server.ranges_asked() == [None, f"bytes={2 << 20}-"]


@pytest.mark.parametrize(("etag", "good"), [('"one"', True), ('"two"', False), (None, False)])
def test_of_a_server_that_does_not_like_if_range_a_part_is_taken_if_it_has_the_right_etag(server, etag, good):
    server.cut_after, server.dislikes_if_range = 2 << 20, True
    server.on_request = lambda habits: len(habits.requests) == 2 and setattr(habits, "cut_after", None)
    made = source(server)
    if good:
        assert read_all(made) == IMAGE
        assert made.stats() == {}
        return
    server.on_request = lambda habits: (
        len(habits.requests) == 2 and setattr(habits, "cut_after", None),
        len(habits.requests) == 3 and setattr(habits, "etag", etag),
    )
    with pytest.raises(Failed, match=r"was replaced|does not tell of which version"):
        read_all(made)


def test_when_to_come_back_may_be_a_date(server):
    def date(seconds):
        return email.utils.formatdate(time.time() + seconds, usegmt=True)

    server.statuses, server.extra = [429, 503], {"Retry-After": date(3)}
    began = time.monotonic()
    assert read_all(source(server)) == IMAGE
    assert time.monotonic() - began > 1, "it was waited for"
    assert len(server.requests) == 3


@pytest.mark.parametrize(("given", "date", "seconds"), [
    ("7", None, 7), ("Fri, 01 Jan 2027 00:00:09 GMT", "Fri, 01 Jan 2027 00:00:00 GMT", 9), ("soon", None, 0),
    ("", None, 0),
    ("Fri, 01 Jan 2027 00:00:00 GMT", "Fri, 01 Jan 2027 00:00:09 GMT", 0), ("Fri, 01 Jan 1999 00:00:00 GMT", None, 0),
])  # fmt: skip
def test_retry_after(given, date, seconds):
    headers = email.message.Message()
    headers["Retry-After"] = given
    if date:
        headers["Date"] = date
    assert retry_after_s(headers) == seconds


def test_who_is_busy_to_the_end_is_named_with_what_helps(server):
    server.statuses, server.extra = [429] * 99, {"Retry-After": "60"}
    error = failure(server)
    assert (error.code, error.details) == ("http_error", {"status": 429})
    assert "larger patience_s" in error.message
