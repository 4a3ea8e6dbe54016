import http.client
import socket
import ssl

import pytest

from agent_router.image.sources.http.connection import ErrorStatus, ProxyErrorStatus
from agent_router.image.sources.http.errors import failed, hopeless, reason


@pytest.mark.parametrize(("error", "expected"), [
    (ErrorStatus(404, "Not Found"), True),
    (ErrorStatus(503, "Busy"), False),
    (ErrorStatus(429, "Slowly"), False),
    (ProxyErrorStatus(407, "Proxy Authentication Required"), True),
    (ProxyErrorStatus(502, "Bad Gateway"), False),
    (socket.gaierror(socket.EAI_NONAME, "unknown"), True),
    (socket.gaierror(socket.EAI_AGAIN, "later"), False),
    (ssl.SSLCertVerificationError("self-signed"), True),
    (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), True),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), False),
    (ConnectionRefusedError(), False),
    (http.client.BadStatusLine("rubbish"), False),
    (TimeoutError(), False),
])  # fmt: skip
def test_hopeless(error, expected):
    assert hopeless(error) is expected


def test_a_reason_is_never_empty():
    assert reason(TimeoutError()) == "TimeoutError"
    assert reason(TimeoutError("timed out")) == "timed out"
    assert reason(http.client.IncompleteRead(b"", 7)) == "7 bytes are missing"
    assert reason(http.client.IncompleteRead(b"")) == "its end is missing"
    assert reason(ConnectionResetError(104, "Connection reset by peer")) == "Connection reset by peer"


def test_what_the_command_is_told():
    error = failed("http://a/x", ErrorStatus(404, "Not Found"))
    assert (error.code, error.details) == ("http_error", {"status": 404})
    assert failed("http://a/x", TimeoutError()).code == "unreachable"
