"""Mirrors, and the list of places that a command and its Metalinks come to."""

import os

import pytest

from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources import Spec, expand, make
from agent_router.plugin import Failed, InvalidRequest
from tests.support.image_server import read_all
from tests.support.waiting import HANG_S

IMAGE = os.urandom(700_001)
DIGEST = "ab" * 32


def listing(*urls: str, more: str = "") -> bytes:
    found = "".join(f"<url>{url}</url>" for url in urls)
    return f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="x">{found}{more}</file></metalink>'.encode()


def mirrored(*servers, **more):
    specs = [Spec(server.url, **{"digest_known": True, "patience_s": HANG_S, **more}) for server in servers]
    return make(expand(specs, [])[0])


def test_a_mirror_that_fails_is_followed_by_the_next_from_there(serve):
    first, second, third = (serve(IMAGE) for _ in range(3))
    first.cut_after = 300_000
    first.on_request = lambda habits: len(habits.requests) == 2 and habits.statuses.append(404)
    second.statuses = [403]
    source = mirrored(first, second, third)
    assert read_all(source, 1 << 20) == IMAGE
    assert third.ranges_asked() == ["bytes=300000-"]
    assert "If-Range" not in third.requests[0]
    assert (source.name, source.offset, source.size) == (third.url, len(IMAGE), len(IMAGE))
    assert source.resumed == 1
    assert [(one["source"], one["code"]) for one in source.stats()["failed"]] == [
        (first.url, "http_error"),
        (second.url, "http_error"),
    ]


def test_a_mirror_with_another_size_is_none(serve):
    first, second, third = serve(IMAGE), serve(IMAGE + b"x"), serve(IMAGE)
    first.cut_after = 300_000
    first.on_request = lambda habits: len(habits.requests) == 2 and habits.statuses.append(404)
    source = mirrored(first, second, third)
    assert read_all(source) == IMAGE
    assert "700002 bytes now" in source.stats()["failed"][1]["message"]


def test_all_mirrors_fail(serve):
    first, second = serve(IMAGE), serve(IMAGE)
    first.statuses, second.statuses = [404], [410]
    source = mirrored(first, second)
    with pytest.raises(Failed, match="HTTP 410"):
        source.open()
    assert [one["source"] for one in source.stats()["failed"]] == [first.url]


def test_parts_from_the_mirror_that_can(serve):
    first, second = serve(IMAGE), serve(IMAGE)
    first.ranges = False
    source = mirrored(first, second)
    source.open()
    assert source.read_at(100, 5) == IMAGE[100:105]
    assert read_all(source) == IMAGE
    second.ranges = False
    alone = mirrored(second, first)
    alone.open()
    with pytest.raises(InOrderOnly):
        alone.read_at(0, 5)
    assert read_all(alone) == IMAGE, "in order all the same"
    assert "failed" not in alone.stats()


def test_a_mirror_without_ranges_is_kept_in_reserve_when_the_one_with_ranges_fails(serve):
    first, second = serve(IMAGE), serve(IMAGE)
    first.ranges, second.statuses = False, [404]
    source = mirrored(first, second)
    source.open()
    with pytest.raises(InOrderOnly):
        source.read_at(0, 5)
    assert (read_all(source) == IMAGE, source.name) == (True, first.url)


def test_the_tls_and_headers_of_each_mirror_are_its_own(serve):
    first, second = serve(IMAGE), serve(IMAGE)
    first.statuses = [404]
    specs = [Spec(first.url, {"X-Key": "1"}, digest_known=True), Spec(second.url, {"X-Key": "2"}, digest_known=True)]
    assert read_all(make(expand(specs, [])[0])) == IMAGE
    assert [server.requests[0]["X-Key"] for server in (first, second)] == ["1", "2"]


@pytest.mark.parametrize(("specs", "mirrors"), [
    ([Spec("http://a/1"), Spec("http://b/1")], [0, 0]),
    ([Spec(f"http://{host}/1", digest_known=True) for host in "abc"], [2, 1, 0]),
    ([Spec(url, digest_known=True) for url in ("http://a/1", "magnet:?xt=x", "http://b/1", "/x")], [0, 0, 0, 0]),
    ([Spec("http://a/1", digest_known=True, digest=("sha256", "1")), Spec("http://b/1", digest_known=True)], [0, 0]),
])  # fmt: skip
def test_neighbours_become_mirrors_if_a_digest_will_tell(specs, mirrors):
    assert [len(spec.mirrors) for spec in expand(specs, [])] == mirrors


def test_a_metalink_becomes_what_it_lists(serve):
    text = listing("http://a/1", "http://b/1", more=f'<size>7</size><hash type="sha-256">{DIGEST}</hash>')
    server = serve(text)
    spec = Spec(server.url + ".meta4?sig=s3cret", {"X-Key": "s3cret"}, patience_s=1, ca="pem")
    found = expand([spec, Spec("/other.raw")], [])
    assert [one.url for one in found] == ["http://a/1", "http://b/1", "/other.raw"]
    assert (found[0].digest, found[0].digest_known, found[0].size_bytes) == (("sha256", DIGEST), True, 7)
    assert (found[0].ca, found[0].patience_s, found[0].headers) == ("pem", 1, {})
    assert [one.url for one in found[0].mirrors] == ["http://b/1"]
    assert not found[2].digest_known
    assert server.requests[0]["X-Key"] == "s3cret"


def test_the_headers_stay_with_the_server_of_the_metalink(serve):
    server = serve(b"")
    server.body = listing("http://a/1", server.url)
    found = expand([Spec(server.url + ".meta4", {"X-Key": "s3cret"})], [])
    assert [one.headers for one in found] == [{}, {"X-Key": "s3cret"}]


def test_multicast_that_a_metalink_names_knows_its_server(serve):
    url = serve(listing("udpcast://:9002")).url + ".meta4"
    assert [(one.url, one.extras) for one in expand([Spec(url)], [])] == [("udpcast://:9002", {"server": url})]


def test_the_command_is_the_authority_over_a_metalink(serve):
    text = listing("http://a/1", more=f'<size>7</size><hash type="sha-256">{DIGEST}</hash>')
    found = expand([Spec(serve(text).url + ".meta4", digest_known=True, size_bytes=9)], [])
    assert (found[0].digest, found[0].digest_known, found[0].size_bytes) == (None, True, 9)


def test_a_metalink_from_a_file(tmp_path):
    (tmp_path / "x.meta4").write_bytes(listing("http://a/1"))
    assert [one.url for one in expand([Spec(f"{tmp_path}/x.meta4")], [])] == ["http://a/1"]


def test_a_metalink_that_cannot_be_had_is_passed_over(serve):
    server, failed = serve(b""), []
    server.statuses = [404, 404]
    found = expand([Spec(server.url + ".meta4"), Spec("http://a/1")], failed)
    assert [one.url for one in found] == ["http://a/1"]
    assert [(one["source"], one["code"]) for one in failed] == [(server.url + ".meta4", "http_error")]
    with pytest.raises(Failed, match="HTTP 404"):
        expand([Spec(server.url + ".meta4")], [])


def test_a_metalink_that_has_no_end(serve):
    with pytest.raises(Failed, match="more than 1048576 bytes") as failed:
        expand([Spec(serve(bytes(1 << 21)).url + ".meta4")], [])
    assert failed.value.code == "too_large"


@pytest.mark.parametrize("url", ["ftp://a/b", "disk.raw", "", "http://[::1", "nbd://a/b"])
def test_what_is_no_source(url):
    with pytest.raises(InvalidRequest, match="is not a source that this agent knows") as failed:
        expand([Spec(url)], [])
    assert failed.value.code == "bad_url"


@pytest.mark.parametrize(("url", "transport"), [
    ("http://a/b", "http"), ("HTTPS://a/b", "http"), ("/dev/sdb", "file"), ("file:///x", "file"),
    ("http://a/b.torrent?x=1", "torrent"), ("/srv/b.torrent", "torrent"), ("magnet:?xt=x", "torrent"),
    ("udpcast://239.1.1.1:9000", "multicast"), ("iscsi://a/iqn.x/1", "iscsi"),
])  # fmt: skip
def test_how_a_url_is_read(url, transport):
    assert Spec(url).transport == transport
