"""TLS limits that change while the server listens, over real connections."""

import contextlib
import json
import socket
import ssl
from functools import partial

import pytest

from agent_router.config import tls
from agent_router.ramdisk import identity

CIPHER, OTHER = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Box:
    """The server's side; a client connects by it over a pair of sockets."""

    def __init__(self, directory):
        self.path = directory / tls.PLACE
        self.said = []
        pair = identity.certificate(["127.0.0.1"], directory / "tls", "test")
        self.server = tls.TlsWrapper(partial(context, *pair), str(directory), self.said.append)

    def tell(self, text):
        new = self.path.with_suffix(".new")
        new.write_text(text if isinstance(text, str) else json.dumps(text))
        new.replace(self.path)

    @contextlib.contextmanager
    def connected(self, most, ciphers=CIPHER):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode, client.maximum_version = False, ssl.CERT_NONE, most
        client.set_ciphers(ciphers)
        ends = socket.socketpair()
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(self.server.wrap(ends[0]))
            ours.setblocking(False)
            ends[1].setblocking(False)
            theirs = stack.enter_context(client.wrap_socket(ends[1], do_handshake_on_connect=False))
            shake(ours, theirs)
            yield ours, theirs

    def speaks(self, most, ciphers=CIPHER):
        try:
            with self.connected(most, ciphers) as (_, client):
                return client.version(), client.cipher()[0]
        except ssl.SSLError:
            return None


def context(cert, key):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(cert, key)
    return made


def shake(*ends):
    left = list(ends)
    while left:
        for end in list(left):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                left.remove(end)


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_unless_told_it_is_tls_1_2_or_better(box):
    assert box.speaks(V12) == ("TLSv1.2", CIPHER)
    assert box.speaks(V13)[0] == "TLSv1.3"
    assert box.server._context.minimum_version == V12


def test_the_minimum_holds_for_the_next_connection_and_leaves_the_open_ones(box):
    with box.connected(V12) as (server, client):
        box.tell({"minimum": "1.3", "ciphers": None})
        assert box.speaks(V12) is None
        assert box.speaks(V13)[0] == "TLSv1.3"
        client.send(b"still here")
        assert server.recv(100) == b"still here"
    box.tell({"minimum": "1.2", "ciphers": None})
    assert box.speaks(V12) == ("TLSv1.2", CIPHER)


def test_ciphers_are_those_of_tls_1_2(box):
    box.tell({"minimum": "1.2", "ciphers": OTHER})
    assert box.speaks(V12) is None
    assert box.speaks(V12, OTHER) == ("TLSv1.2", OTHER)
    assert box.speaks(V13)[0] == "TLSv1.3"


@pytest.mark.parametrize("text", ["", "{", "[]", {"minimum": "1.1"}, {"ciphers": "NO-SUCH"}, {"minimum": []}])
def test_a_file_that_cannot_be_used_is_told_once_and_changes_nothing(box, text):
    box.tell({"minimum": "1.3", "ciphers": None})
    assert box.speaks(V12) is None
    box.tell(text)
    for _ in range(2):
        assert box.speaks(V12) is None
        assert box.speaks(V13)
    assert len(box.said) == 1
    box.path.unlink()
    assert box.speaks(V12) is None, "what was told holds"


def test_the_limits_are_there_again_after_a_restart(box, tmp_path):
    box.tell({"minimum": "1.3", "ciphers": None})
    assert Box(tmp_path).speaks(V12) is None


@pytest.mark.parametrize(
    ("given", "limits", "warning"),
    [
        ((None, None), ("1.2", None), ""),
        (("", ""), ("1.2", None), ""),
        (("1.2", CIPHER), ("1.2", CIPHER), ""),
        (("1.3", f"{CIPHER}:{OTHER}"), ("1.3", f"{CIPHER}:{OTHER}"), ""),
        (("1.3", "NO-SUCH"), ("1.3", None), "tls_cipher_suites 'NO-SUCH' names no cipher of TLS 1.2"),
        (("1.3", "TLS_AES_256_GCM_SHA384"), ("1.3", None), "names no cipher of TLS 1.2"),
        (("1.3", ["A"]), ("1.3", None), "names no cipher of TLS 1.2"),
        (("1.3", "A\0B"), ("1.3", None), "names no cipher of TLS 1.2"),
        (("1.1", None), ("1.2", None), "tls_min_version '1.1' is not one of 1.2, 1.3; 1.2 stays"),
        ((1.3, None), ("1.2", None), "tls_min_version 1.3 is not one of"),
    ],
)
def test_what_ironic_wants_is_checked(given, limits, warning):
    found, wrong = tls.checked(*given)
    assert (found["minimum"], found["ciphers"]) == limits
    assert [warning in sentence for sentence in wrong] == ([True] if warning else [])
