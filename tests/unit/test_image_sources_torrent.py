"""Torrent files that people and enemies make, and what is decided before a byte is fetched."""

import os
from types import SimpleNamespace

import pytest

from agent_router import plugin
from agent_router.image.sources.torrent import magnet, metainfo, session
from agent_router.image.sources.torrent.download import Download
from agent_router.image.sources.torrent.metainfo import Metainfo
from agent_router.image.sources.torrent.swarm import Swarm
from agent_router.image.sources.torrent.to_disk import ends
from agent_router.seed import bencode

lt = pytest.importorskip("libtorrent", minversion="2.1")
MIB = 1 << 20
HASH = b"h" * 20


def torrent(**keys):
    info = {"name": "disk.raw", "length": 3 * MIB, "piece length": MIB, "pieces": HASH * 3, **keys}
    return bencode.encode({"info": {key: value for key, value in info.items() if value is not None}})


def test_an_image():
    found = metainfo.parse(lt, torrent(), "it")
    assert (found.name, found.size, found.piece_length, found.pieces) == ("disk.raw", 3 * MIB, MIB, 3)


def files(*sizes):
    listed = [{"path": [f"f{number}"], "length": size} for number, size in enumerate(sizes)]
    return {"length": None, "files": listed, "pieces": HASH * -(-sum(sizes) // MIB)}


HOSTILE = [
    (b"", "bad_image", "not a torrent file"),
    (b"<html>", "bad_image", "not a torrent file"),
    (b"d4:infoi1ee", "bad_image", "not a usable torrent"),
    (torrent()[:-30], "bad_image", "not a usable torrent"),
    (b"d" + b"l" * 200_000, "bad_image", "not a usable torrent"),
    (torrent(**{"piece length": 0}), "bad_image", "piece length"),
    (torrent(**{"piece length": -1}), "bad_image", "piece length"),
    (torrent(length=-5), "bad_image", "invalid"),
    (torrent(length=1 << 62), "bad_image", "not a usable torrent"),
    (torrent(pieces=HASH * 2), "bad_image", "piece hashes"),
    (torrent(length=40 * MIB, pieces=HASH * 2, **{"piece length": 32 * MIB}), "bad_image", "pieces of 32 MiB"),
    (torrent(name="../../etc/passwd"), "bad_image", "a path"),
    (torrent(name=".."), "bad_image", "missing name"),
    (torrent(name="a\0b"), "bad_image", "a path"),
    (torrent(**files(MIB, MIB)), "bad_image", "holds 2 files instead of one"),
    (b"d" + bytes(metainfo.LARGEST), "bad_image", "more than 32 MiB"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "code", "said"), HOSTILE)
def test_hostile_files(content, code, said):
    with pytest.raises(plugin.Failed, match=said) as failed:
        metainfo.parse(lt, content, "http://a/disk.torrent")
    assert failed.value.code == code
    assert "\n" not in failed.value.message


def test_only_servers_that_are_asked_by_http_or_udp():
    content = bencode.encode({
        "announce-list": [["http://a/announce", "wss://b/x", "udp://c:1/announce", "file:///etc/passwd"]],
        "url-list": ["http://a/disk.raw", "ftp://a/disk.raw", "file:///etc/passwd"],
        "info": {"name": "disk.raw", "length": 5, "piece length": MIB, "pieces": HASH},
    })  # fmt: skip
    found = metainfo.parse(lt, content, "it")
    assert found.trackers == ["http://a/announce", "udp://c:1/announce"]
    assert found.web_seeds == ["http://a/disk.raw"]


def meta(size, piece):
    return Metainfo(None, "x", size, piece, -(-size // piece))


@pytest.mark.parametrize(("size", "piece", "expected"), [
    (10 * MIB, MIB, {0, 9}),
    (10 * MIB - 512, MIB, {0, 8, 9}),
    (10 * MIB, 4 * MIB, {0, 2}),
    (8 * MIB + 1, 4 * MIB, {0, 1, 2}),
    (4 * MIB, MIB // 4, {0, 1, 2, 3, 12, 13, 14, 15}),
    (100, MIB, {0}),
])  # fmt: skip
def test_the_pieces_that_stay_away_from_the_disk(size, piece, expected):
    assert ends(meta(size, piece)) == expected


@pytest.mark.parametrize("more", [0, 512, MIB - 1, MIB, 5 * MIB])
def test_no_piece_of_the_body_has_a_byte_of_the_ends(more):
    one = meta(50 * MIB + 4711, 3 * MIB)
    disk = one.size + more
    for piece in set(range(one.pieces)) - ends(one):
        start, end = one.span(piece)
        assert start >= MIB
        assert end <= disk - MIB


@pytest.mark.parametrize("version", ["2.0.8.0", "1.2.19"])
def test_an_old_libtorrent(monkeypatch, version):
    monkeypatch.setattr(session.importlib, "import_module", lambda name: SimpleNamespace(version=version))
    with pytest.raises(plugin.Incompatible, match=f"libtorrent 2.1 or newer; {version} is installed") as failed:
        session.load_libtorrent()
    assert failed.value.code == "no_source", "the next source is tried"


def test_no_libtorrent(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(session.importlib, "import_module", missing)
    with pytest.raises(plugin.Incompatible, match="not installed: install it"):
        session.load_libtorrent()


def test_a_link_that_is_none():
    with pytest.raises(plugin.InvalidRequest, match="not a magnet link") as failed:
        magnet.parse(lt, "magnet:?dn=x", "magnet:?")
    assert failed.value.code == "bad_url"


def resolve(link, fetch, tmp_path):
    limits = session.SessionLimits("127.0.0.1", port=17000)
    return magnet.resolve(lt, link, "magnet", fetch, limits, 0.3, str(tmp_path))


def test_a_magnet_link_takes_only_the_torrent_it_names(tmp_path):
    right, wrong = torrent(), torrent(name="other")
    link = magnet_of(right) + "&xs=http%3A%2F%2Fa%2Fwrong&xs.1=http%3A%2F%2Fa%2Fright&as=http%3A%2F%2Fb%2Fdisk.raw"
    content = {"http://a/wrong": wrong, "http://a/right": right}
    found = resolve(link, content.__getitem__, tmp_path)
    assert (found.name, found.web_seeds) == ("disk.raw", ["http://b/disk.raw"])
    content["http://a/right"] = wrong
    with pytest.raises(plugin.Failed, match="no peer sent the torrent's metadata within") as failed:
        resolve(link, content.__getitem__, tmp_path)
    assert failed.value.code == "no_source"


def magnet_of(content):
    return str(lt.make_magnet_uri(lt.load_torrent_buffer(content).ti))


def test_this_session_keeps_to_the_data_centre():
    chosen = session.session_settings(lt, session.SessionLimits("192.0.2.7", 7000))
    assert chosen["listen_interfaces"] == "192.0.2.7:7000"
    assert not [key for key in ("enable_dht", "enable_upnp", "enable_natpmp", "enable_incoming_utp") if chosen[key]]
    assert set(chosen) <= set(lt.default_settings()), "libtorrent passes over names that it does not know"
    assert session.session_settings(lt, session.SessionLimits("fd00::1"))["listen_interfaces"] == "[fd00::1]:6881"


def test_a_session_that_could_bind_but_not_listen_takes_another_port():
    asked = []

    class Session:
        def listen_port(self):
            return 7003 if len(asked) == 3 else 0

        def apply_settings(self, given):
            asked.append(given["listen_interfaces"])

    params = SimpleNamespace()
    fake = SimpleNamespace(session_params=lambda: params, session=lambda given: Session(), alert=lt.alert)
    session.make_session(fake, session.SessionLimits("fd00::1", 7000))
    assert asked == ["[fd00::1]:7001", "[fd00::1]:7002", "[fd00::1]:7003"]


def test_what_is_wrong_in_a_swarm_shows_no_secret(tmp_path, serve):
    server = serve(b"")
    server.statuses = [404] * 100
    found = metainfo.parse(lt, torrent(), "it")
    found.web_seeds = [server.url.replace("//", "//user:hunter2@") + "?signature=hunter3"]
    swarm = Swarm(lt, found, None, {0, 1, 2}, session.SessionLimits("127.0.0.1", 17100), str(tmp_path))
    download = Download(found, "it", 3.0)
    download.add(swarm)
    try:
        with pytest.raises(plugin.Failed) as failed:
            download.read(memoryview(bytearray(10)), 0)
    finally:
        download.close()
    assert f"{server.url}: " in failed.value.message
    assert "hunter" not in failed.value.message
    assert os.listdir(tmp_path) == []
