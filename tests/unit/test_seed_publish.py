"""What agent-router seed is made of: bencoding, ranges, the tracker, the side files."""

import hashlib
import os
from urllib.parse import quote

import pytest

from agent_router.seed import publish, scan, side_files
from agent_router.seed.publish import Options
from agent_router.seed.sender import Group
from agent_router.seed.tracker import Tracker, packed, plain
from agent_router.seed.web import span

MIB = 1 << 20


@pytest.mark.parametrize(("header", "expected"), [
    ("", None), ("bytes=-", None), ("bytes=a-b", None), ("items=0-1", None), ("bytes=5-3", None),
    ("bytes=0-1,3-4", None),
    ("bytes=0-0", (0, 1)), ("bytes=10-", (10, 100)), ("bytes=10-500", (10, 100)), ("bytes=-7", (93, 100)),
    ("bytes=-700", (0, 100)), ("bytes=-0", (100, 100)), ("bytes=100-", (100, 100)), ("bytes=200-300", (100, 100)),
])  # fmt: skip
def test_ranges(header, expected):
    assert span(header, 100) == expected


@pytest.mark.parametrize("data", [[], [(0, 1)], [(3, 5)], [(0, 2), (5, 7)]])
def test_a_scan(tmp_path, data):
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(7 * MIB + 5)
        for start, end in data:
            os.pwrite(file.fileno(), os.urandom((end - start) * MIB), start * MIB)
    found, content = scan.scan(path), path.read_bytes()
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    length = found.piece_length
    pieces = [content[at : at + length] for at in range(0, len(content), length)]
    assert found.pieces == b"".join(hashlib.sha1(piece).digest() for piece in pieces)
    covered = bytearray(len(content))
    for start, end, digest in found.data:
        assert digest == hashlib.sha256(content[start:end]).hexdigest()
        assert start % scan.BLOCK == 0
        covered[start:end] = content[start:end]
    assert covered == content, "what is not in a range is zeros"
    assert sum(end - start for start, end, _ in found.data) == sum(end - start for start, end in data) * MIB


def test_pieces_grow_with_the_image():
    assert [scan.piece_length(size) for size in (1, 3 << 30, 1 << 40)] == [256 << 10, 4 * MIB, 16 * MIB]


def test_libtorrent_reads_the_torrent_as_it_is_meant(tmp_path):
    lt = pytest.importorskip("libtorrent")
    (tmp_path / "a b.raw").write_bytes(os.urandom(MIB))
    image = scan.scan(tmp_path / "a b.raw")
    found = lt.load_torrent_buffer(side_files.torrent(image, "http://h:1/x/", ["http://t/1", "udp://t/2"]))
    assert found.ti.info_hashes().v1.to_bytes() == side_files.info_hash(image)
    assert (list(found.trackers), list(found.tracker_tiers)) == (["http://t/1", "udp://t/2"], [0, 0])
    assert list(found.url_seeds) == ["http://h:1/x/a%20b.raw"]
    link = lt.parse_magnet_uri(side_files.magnet(image, "http://h:1/x", ["http://t/1"]))
    assert (link.info_hashes.v1, list(link.url_seeds)) == (found.ti.info_hashes().v1, ["http://h:1/x/a%20b.raw"])


class Swarm:
    def __init__(self):
        self.tracker = Tracker()
        self.tracker.add(b"\xff" * 20)

    def __call__(self, address, port, *, info_hash=b"\xff" * 20, **more):
        pairs = {"info_hash": info_hash, "port": str(port), "left": "5", **more}
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in pairs.items())
        return self.tracker.announce(query, address)


def test_the_tracker_tells_of_the_others():
    ask = Swarm()
    assert b"5:peers0:" in ask("192.0.2.1", 1000, left="0")
    assert b"8:completei1e10:incompletei1e" in ask("::ffff:192.0.2.2", 2000)
    answer = ask("2001:db8::3", 3000)
    assert packed([("192.0.2.1", 1000)], 4) in answer
    assert packed([("192.0.2.2", 2000)], 4) in answer
    assert b"12:min interval" in answer
    assert packed([("2001:db8::3", 3000)], 6) in ask("192.0.2.1", 1000)
    ask("2001:db8::3", 3000, event="stopped")
    assert b"6:peers60:" in ask("192.0.2.1", 1000)


def test_the_tracker_refuses():
    ask = Swarm()
    assert b"failure reason" in ask("192.0.2.1", 1, info_hash=b"x" * 20)
    for port in ("", "0", "70000", "x", "²"):
        assert b"failure reason" in ask("192.0.2.1", port)
    assert b"peers" in ask("192.0.2.1", 1, numwant="-1", left="x", ip="10.0.0.1")
    assert packed([("10.0.0.1", 1)], 4) not in ask("192.0.2.2", 2), "an address that somebody claims to have"
    assert plain("fe80::1%eth0") == "fe80::1"


def test_each_image_has_its_own_multicast_ports(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    images = [scan.scan(tmp_path / name) for name in "ab"]
    group = Group("239.1.2.3", 9000, "eth1", 4, 20, 800)
    found = publish.groups(group, images)
    assert [one.url for one in found.values()] == ["udpcast://239.1.2.3:9000", "udpcast://239.1.2.3:9002"]
    assert found["b"].argv(tmp_path / "b") == [
        "udp-sender", "--file", str(tmp_path / "b"), "--portbase", "9002", "--no-progress",
        "--rexmit-hello-interval", "250", "--retries-until-drop", "17", "--interface", "eth1",
        "--mcast-rdv-address", "239.1.2.3", "--max-bitrate", "800m",
    ]  # fmt: skip
    assert "b.torrent" not in publish.side_files(images, "http://h", Options(torrent=False), [])


@pytest.mark.parametrize(("options", "url"), [
    (Options(advertise="https://images.example/x/"), "https://images.example/x"),
    (Options(bind="192.0.2.9"), "http://192.0.2.9:81"), (Options(bind="fd00::9"), "http://[fd00::9]:81"),
])  # fmt: skip
def test_what_nodes_call_the_server(options, url):
    assert publish.base_url(options, 81) == url
