"""What goes over the wire: URLs, headers, redirects, proxies; and who gets the secrets."""

import base64
import os

import pytest

from agent_router.image.sources import Spec, shown
from agent_router.image.sources.http import connection
from agent_router.image.sources.http.client import same_server
from agent_router.image.sources.http.connection import bypassed, proxy_for
from agent_router.image.sources.http.source import HttpSource
from agent_router.plugin import Failed, InvalidRequest
from tests.support.image_server import read_all
from tests.support.proxy import Proxy
from tests.support.waiting import HANG_S

IMAGE = os.urandom(200_001)
SECRET = {"Authorization": "Bearer s3cret", "X-Key": "s3cret"}


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server(serve):
    return serve(IMAGE)


@pytest.fixture
def proxy():
    made = Proxy()
    yield made
    made.shutdown()
    made.server_close()


def fetched(url, **more) -> bytes:
    return read_all(HttpSource(Spec(url, **{"patience_s": HANG_S, **more})))


def failure(url, **more) -> Failed:
    with pytest.raises(Failed) as failed:
        fetched(url, **{"patience_s": 1, **more})
    return failed.value


@pytest.mark.parametrize(("url", "expected"), [
    ("https://a.example:8443/x.raw?sig=secret#y", "https://a.example:8443/x.raw"),
    ("http://user:secret@a/x", "http://a/x"),
    ("http://a", "http://a"),
    ("/srv/a b.raw", "/srv/a b.raw"),
    ("magnet:?xt=urn:btmh:1220aa&tr=http://t/secret", "magnet:?xt=urn:btmh:1220aa"),
    ("iscsi://user:secret@a:3260/iqn.x/1", "iscsi://a:3260/iqn.x/1"),
])  # fmt: skip
def test_what_is_shown_of_a_url_is_no_secret(url, expected):
    assert shown(url) == expected


@pytest.mark.parametrize(("url", "netloc", "selector"), [
    ("http://a/x", "a", "/x"),
    ("http://a", "a", "/"),
    ("http://a:80/x", "a", "/x"),
    ("https://a:80/x", "a:80", "/x"),
    ("http://A/a b/ü.raw?q=ä 1&z=%20", "a", "/a%20b/%C3%BC.raw?q=%C3%A4%201&z=%20"),
    ("http://a/100%.raw", "a", "/100%25.raw"),
    ("http://bücher.example/", "xn--bcher-kva.example", "/"),
    ("http://[FD00::2]:8080/x", "[fd00::2]:8080", "/x"),
])  # fmt: skip
def test_a_url_as_it_is_sent(url, netloc, selector):
    parts = connection.prepared(url)
    assert (parts.netloc, connection.selector(parts)) == (netloc, selector)


def test_the_zone_of_a_link_local_address_stays_on_this_machine():
    parts = connection.prepared("http://[fe80::1%25eth0]:81/x")
    assert connection.address(parts) == ("fe80::1%eth0", 81)
    assert connection.host_header(parts) == "[fe80::1]:81"


@pytest.mark.parametrize("url", ["http://user:s3cret@a/x", "http://a:99999/x", "http:///x", f"http://{'a' * 99}/"])
def test_urls_that_cannot_be_meant(url):
    with pytest.raises(InvalidRequest) as failed:
        HttpSource(Spec(url))
    assert failed.value.code == "bad_url"
    assert "s3cret" not in failed.value.message


@pytest.mark.parametrize("headers", [
    {"X": "1\r\nY: s3cret"}, {"X Y": "1"}, {"": "1"}, {"X:": "1"}, {"X": "s3cret☃"}, {"Range": "1"}, {"HOST": "b"},
])  # fmt: skip
def test_headers_that_cannot_be_sent(headers):
    with pytest.raises(InvalidRequest) as failed:
        HttpSource(Spec("http://a/", headers=headers))
    assert failed.value.code == "bad_header"
    assert "s3cret" not in failed.value.message


def test_asks_for_the_bytes_as_they_are(server):
    fetched(server.url.replace("disk", "my disk ü"), headers=SECRET)
    assert server.paths == ["/my%20disk%20%C3%BC.raw"]
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert server.requests[0]["Authorization"] == "Bearer s3cret"


def test_secrets_are_not_in_messages(server):
    server.statuses = [403]
    error = failure(server.url + "?sig=s3cret", headers=SECRET)
    assert "s3cret" not in error.message + str(error.details)
    assert "s3cret" not in repr(Spec("http://a", headers=SECRET, key="s3cret", proxies={"http": "http://u:s3cret@p"}))


def test_secrets_follow_a_redirect_on_the_same_server(server):
    server.redirects = {"/disk.raw": "/other.raw"}
    assert fetched(server.url, headers=SECRET) == IMAGE
    assert [request["X-Key"] for request in server.requests] == ["s3cret"] * 2


def test_secrets_do_not_follow_a_redirect_elsewhere_nor_back_from_there(serve, server):
    elsewhere = serve(b"")
    server.redirects = {"/disk.raw": elsewhere.url}
    elsewhere.redirect = server.url.replace("disk", "other")
    assert fetched(server.url, headers=SECRET) == IMAGE
    for request in (elsewhere.requests[0], server.requests[1]):
        assert not {"Authorization", "X-Key"} & set(request)


def test_a_resume_asks_where_the_redirect_led_and_if_it_is_gone_the_first_server_again(serve, server):
    first = serve(b"")
    first.redirect = server.url
    server.cut_after = 100_000
    server.on_request = lambda habits: len(habits.requests) == 2 and habits.statuses.append(403)
    assert fetched(first.url) == IMAGE
    assert len(first.requests) == 2
    assert server.ranges_asked() == [None, "bytes=100000-", "bytes=100000-", "bytes=200000-"]


def test_a_redirect_to_another_mirror_in_the_middle_needs_a_digest_and_no_validator(serve, server):
    first, other = serve(b""), serve(IMAGE)
    other.etag = '"other"'
    first.redirect = server.url
    server.cut_after = 100_000

    def leave(_):
        if len(server.requests) == 2:
            server.statuses = [404]
            first.redirect = other.url

    server.on_request = leave
    assert fetched(first.url, digest_known=True) == IMAGE
    assert "If-Range" not in other.requests[0]


@pytest.mark.parametrize(("location", "sentence"), [
    ("ftp://a/b", "only http and https are followed"), ("file:///etc/passwd", "only http and https"),
    ("/disk.raw", "more than 10 redirects"), ("http://u:p@a/", "would end up in logs"),
])  # fmt: skip
def test_redirects_that_are_not_followed(server, location, sentence):
    server.redirect = location
    error = failure(server.url)
    assert (error.code, len(server.requests) <= 11) == ("http_error", True)
    assert sentence in error.message


@pytest.mark.parametrize("where", ["command", "environment", "environment for all"])
def test_through_a_proxy(server, proxy, monkeypatch, where):
    if where == "command":
        assert fetched(server.url, proxies={"http": f"http://{proxy.place}"}) == IMAGE
    else:
        monkeypatch.setenv("all_proxy" if "all" in where else "http_proxy", proxy.place)
        assert fetched(server.url) == IMAGE
    assert proxy.asked == [f"GET {server.url}"]


def test_a_proxy_that_wants_a_password(server, proxy):
    proxy.wants = "Basic " + base64.b64encode(b"me:pass word").decode()
    assert fetched(server.url, proxies={"http": f"http://me:pass%20word@{proxy.place}"}) == IMAGE
    assert "Proxy-Authorization" not in server.requests[0]
    error = failure(server.url, proxies={"http": f"http://me:s3cret@{proxy.place}"})
    assert "the proxy requires a user and a password" in error.message
    assert "s3cret" not in error.message


def test_a_proxy_that_cannot_be_used():
    with pytest.raises(InvalidRequest, match="socks5://p:1 is not a proxy"):
        fetched("http://a/", proxies={"http": "socks5://u:s3cret@p:1"})


@pytest.mark.parametrize(("host", "port", "exceptions", "expected"), [
    ("a.example", 80, "b, a.example", True), ("a.example", 80, ".example", True), ("a.example", 80, "*.example", True),
    ("a.example", 80, "example", True), ("aexample", 80, "example", False), ("a", 80, "*", True), ("a", 80, "", False),
    ("a", 80, "a:80", True), ("a", 81, "a:80", False), ("10.1.2.3", 80, "10.0.0.0/8", True),
    ("11.1.2.3", 80, "10.0.0.0/8", False), ("fd00::1", 80, "fd00::/8", True), ("fd00::1", 80, "[fd00::1]:80", True),
    ("::1", 80, "::1", True), ("A.Example", 80, "a.example", True),
])  # fmt: skip
def test_no_proxy(host, port, exceptions, expected):
    assert bypassed(host, port, exceptions) is expected
    assert (proxy_for("http", host, port, {"http": "http://p:1", "no": exceptions}) is None) is expected


@pytest.mark.parametrize(("url", "target", "same"), [
    ("http://a/x", "https://a/x", True), ("http://a:80/x", "HTTPS://A:443/y", True),
    ("http://a/x", "http://a:80/y", True),
    ("https://a/x", "http://a/x", False), ("http://a/x", "https://b/x", False), ("http://a:8080/", "https://a/", False),
    ("http://a/x", "https://a:8443/x", False), ("http://a/x", "http://a.b/x", False),
])  # fmt: skip
def test_an_upgrade_to_https_is_the_same_server(url, target, same):
    assert same_server(url, target) is same


@pytest.mark.parametrize("status", [401, 403, 404])
def test_that_a_redirect_is_why_a_token_was_not_sent_is_said(serve, server, status):
    elsewhere = serve(b"")
    server.redirect, elsewhere.statuses = elsewhere.url, [status] * 9
    with pytest.raises(Failed, match=f"HTTP {status}.*headers of the request were not sent to {elsewhere.url}"):
        read_all(HttpSource(Spec(server.url, {"Authorization": "Bearer s3cret"}, patience_s=0.2)))
