import base64
import errno
import os
import socket
import struct
import threading

import pytest

from agent_router import plugin
from agent_router.image.sources.iscsi import Lun, nbd_argv, parse_url
from agent_router.image.sources.nbd import PIECE, Nbd
from agent_router.storage import export_iscsi

IQN = "iqn.2026-11.org.example:disk"


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(("url", "headers", "lun"), [
    (f"iscsi://192.0.2.1/{IQN}/1", {}, Lun("192.0.2.1:3260", IQN, 1)),
    (f"iscsi://san.example:860/{IQN}/0", {}, Lun("san.example:860", IQN, 0)),
    (f"iscsi://[fd00::1]/{IQN}/1", {}, Lun("[fd00::1]:3260", IQN, 1)),
    (f"iscsi://me%p@ss@192.0.2.1/{IQN}/1", {}, Lun("192.0.2.1:3260", IQN, 1, "me", "p@ss")),
    (f"iscsi://192.0.2.1/{IQN}/1", basic("me:a:b"), Lun("192.0.2.1:3260", IQN, 1, "me", "a:b")),
    ("iscsi://192.0.2.1/eui.02004567A425678D/1", {}, Lun("192.0.2.1:3260", "eui.02004567A425678D", 1)),
])  # fmt: skip
def test_urls(url, headers, lun):
    assert parse_url(url, headers) == lun


@pytest.mark.parametrize("url", [
    "iscsi://", f"iscsi:///{IQN}/1", f"iscsi://a/{IQN}", f"iscsi://a/{IQN}/x", f"iscsi://a/{IQN}/1/2", "iscsi://a/disk/1",
    f"iscsi://a/{IQN},lun=2/1", f"iscsi://a,target=x/{IQN}/1", f"iscsi://a/{IQN}/1?x=1", f"iscsi://a:x/{IQN}/1",
    f"iscsi://me@a/{IQN}/1", f"iscsi://%secret@a/{IQN}/1",
])  # fmt: skip
def test_urls_that_are_refused(url):
    with pytest.raises(plugin.InvalidRequest) as failed:
        parse_url(url, {})
    assert failed.value.code == "bad_url"
    assert "secret" not in failed.value.message


@pytest.mark.parametrize("value", ["Bearer x", "Basic %%%", "Basic"])
def test_no_other_authorization(value):
    with pytest.raises(plugin.InvalidRequest, match="Basic"):
        parse_url(f"iscsi://a/{IQN}/1", {"Authorization": value})


def test_the_password_is_no_argument():
    argv = nbd_argv(Lun("a:3260", IQN, 1, "me,too", "s3cret"), 7)
    assert "s3cret" not in str(argv)
    assert "s3cret" not in repr(Lun("a:3260", IQN, 1, "me", "s3cret"))
    assert argv[-1].endswith(",user=me,,too,password-secret=chap"), "a comma would begin another option"
    assert "--object" not in nbd_argv(Lun("a:3260", IQN, 1), 7)


def test_initiators():
    texts = ["ALL", "192.0.2.7", "192.0.2.7/24", "fd00::1"]
    assert [export_iscsi.accepted(text) for text in texts] == ["ALL", "192.0.2.7", "192.0.2.0/24", "fd00::1"]


def test_the_address_that_faces_an_initiator():
    assert export_iscsi.own_address(["127.0.0.9"]) == "127.0.0.1"
    with pytest.raises(plugin.InvalidRequest, match="give the address to listen on") as failed:
        export_iscsi.own_address(["fe80::1"])  # a link-local address faces nobody without its interface
    assert failed.value.code == "no_address"
    assert export_iscsi.portal_url("fd00::1", 3260, IQN) == f"iscsi://[fd00::1]:3260/{IQN}/1"


class Server(threading.Thread):
    """An NBD server on a socket that says what it is told, and answers requests for pieces backwards."""

    def __init__(self, path: str, greeting: bytes, data: bytes, error: int = 0) -> None:
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.greeting, self.data, self.error = greeting, data, error
        self.start()

    def run(self) -> None:
        peer, _ = self.listener.accept()
        with peer, self.listener:
            peer.sendall(self.greeting)
            try:
                if len(peer.recv(20, socket.MSG_WAITALL)) < 20:
                    return
            except ConnectionResetError:  # a client that knows that this is the wrong server
                return
            peer.sendall(struct.pack(">QH", len(self.data), 3))
            pieces = -(-len(self.data) // PIECE)
            asked = peer.recv(28 * pieces, socket.MSG_WAITALL)
            for at in reversed(range(0, len(asked), 28)):
                _, _, _, cookie, offset, length = struct.unpack(">IHHQQI", asked[at : at + 28])
                reply = struct.pack(">IIQ", 0x67446698, self.error, cookie)
                peer.sendall(reply + (b"" if self.error else self.data[offset : offset + length]))


GREETING = struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 3)


def test_answers_may_come_in_any_order(tmp_path):
    data = os.urandom(3 * PIECE + 77)
    Server(f"{tmp_path}/s", GREETING, data)
    nbd = Nbd(f"{tmp_path}/s", 5, 5)
    found = bytearray(nbd.size)
    nbd.read(0, memoryview(found))
    assert found == data
    nbd.close()


def test_a_read_error_is_an_error(tmp_path):
    Server(f"{tmp_path}/s", GREETING, bytes(100), errno.EIO)
    nbd = Nbd(f"{tmp_path}/s", 5, 5)
    with pytest.raises(OSError, match="read error at byte 0"):
        nbd.read(0, memoryview(bytearray(100)))
    nbd.close()


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request", b"NBD"])
def test_another_server_is_no_nbd_server(tmp_path, greeting):
    Server(f"{tmp_path}/s", greeting, b"")
    with pytest.raises(OSError):
        Nbd(f"{tmp_path}/s", 0.3, 5)
