import io
import socket
import ssl
import urllib.error

import pytest

from agent_router.image import source


@pytest.mark.parametrize(("value", "expected"), [
    ("bytes 100-199/200", (100, 200)),
    ("bytes 100-199/*", (100, None)),
    ("bytes */200", (None, None)),
    ("items 1-2/3", (None, None)),
    ("", (None, None)),
])  # fmt: skip
def test_parse_content_range(value, expected):
    assert source.parse_content_range(value) == expected


@pytest.mark.parametrize(("url", "expected"), [
    ("https://a.example:8443/x.raw?sig=secret#y", "https://a.example:8443/x.raw"),
    ("http://user:secret@a/x", "http://a/x"),
    ("http://a", "http://a"),
])  # fmt: skip
def test_what_is_shown_of_a_url_is_no_secret(url, expected):
    assert source.shown(url) == expected


@pytest.mark.parametrize(("error", "hopeless"), [
    (urllib.error.HTTPError("u", 404, "Not Found", None, io.BytesIO()), True),
    (urllib.error.HTTPError("u", 503, "Busy", None, io.BytesIO()), False),
    (urllib.error.HTTPError("u", 429, "Slowly", None, io.BytesIO()), False),
    (urllib.error.URLError(socket.gaierror(socket.EAI_NONAME, "unknown")), True),
    (urllib.error.URLError(socket.gaierror(socket.EAI_AGAIN, "later")), False),
    (urllib.error.URLError(ssl.SSLCertVerificationError("self-signed")), True),
    (urllib.error.URLError(ConnectionRefusedError()), False),
    (urllib.error.URLError("unknown url type: ftp"), True),
    (TimeoutError(), False),
])  # fmt: skip
def test_hopeless(error, hopeless):
    assert source._hopeless(error) is hopeless
