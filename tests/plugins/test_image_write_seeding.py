"""image.write from what docs/seeding.md makes of nginx, opentracker and Transmission, by its own command lines."""

import hashlib
import os
import signal
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("libtorrent", minversion="2.1")

from tests.support.disk_content import noise
from tests.support.lan import inside
from tests.support.seeding_host import ADDRESS, host_with, missing
from tests.support.waiting import HANG_S, wait_for

MIB = 1 << 20
IMAGE = noise(3 * MIB + 12800)
SHA = hashlib.sha256(IMAGE).hexdigest()
IMAGE_URL = f"http://{ADDRESS}/debian-13.raw"
TRACKER, REMOTE = 6969, 9091  # ports
PROGRAMS = ("ip", "nginx", "opentracker", "transmission-daemon", "transmission-remote", "transmission-show",
            "transmission-create", "mktorrent")  # fmt: skip

pytestmark = [
    pytest.mark.root,
    pytest.mark.swarm,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(missing(*PROGRAMS) != [], reason=f"not installed: {', '.join(missing(*PROGRAMS))}"),
]


@pytest.fixture
def host():
    with host_with(IMAGE) as made:
        yield made


@pytest.fixture
def write(call, host, loop_disk):
    """Writes the image from that source; the statistics."""

    def run(source):
        disk = loop_disk(8)
        with inside(host.node):
            answer = call("image.write", device=disk, sources=source, digest=SHA, patience_s=HANG_S)
        assert Path(disk).read_bytes()[: len(IMAGE)] == IMAGE
        assert answer["transport"] == "torrent"
        return answer["stats"]

    return run


def listed(host) -> bytes:
    """The info hash that came last into the whitelist."""
    return bytes.fromhex((host.images / "whitelist").read_text().split()[-1])


def opentracker(host):
    """Its process; it answers, and the torrent of the image is in its whitelist."""
    host.run("transmission-show")
    process = host.start("opentracker")
    wait_for(lambda: host.ask("/scrape", TRACKER), "opentracker")
    return process


def announced(host, info_hash: bytes) -> bytes:
    query = f"info_hash={quote(info_hash)}&peer_id=-XX0000-000000000000&port=7000&left=1"
    return host.ask(f"/announce?{query}", TRACKER)[2]


def test_opentracker_is_not_root_and_takes_what_is_in_its_whitelist(host):
    host.run("transmission-create")
    process = opentracker(host)
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert status.startswith("Name:\topentracker\n")
    assert "\nUid:\t0" not in status
    assert b"peers" in announced(host, listed(host))
    other = b"\xff" * 20
    assert b"not authorized" in announced(host, other)
    with (host.images / "whitelist").open("a") as file:
        file.write(f"{other.hex()}\n")
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: b"peers" in announced(host, other), "the whitelist to be read again")


@pytest.mark.slow  # Transmission begins with a peer at the next full ten seconds, and here it does so twice
def test_transmission_as_the_only_seed(host, write):
    host.run("agent-router seed /srv")
    opentracker(host)
    host.start("transmission-daemon")
    wait_for(lambda: host.ask("/transmission/rpc", REMOTE), "transmission-daemon")
    host.run("transmission-remote")
    scrape = f"/scrape?info_hash={quote(listed(host))}"
    wait_for(lambda: b"8:completei1e" in host.ask(scrape, TRACKER)[2], "the tracker to know the seed")
    stats = write(f"{host.image}.torrent")
    assert stats["bytes_by_peers"] >= len(IMAGE)
    assert stats["bytes_by_web_seeds"] == 0


def test_side_files_beside_the_image_on_nginx(host, write):
    host.run("agent-router seed /srv")
    host.nginx()
    types = [host.ask(f"/debian-13.raw{kind}")[1]["Content-Type"] for kind in ("", ".meta4", ".torrent")]
    assert types == ["application/octet-stream", "application/metalink4+xml", "application/x-bittorrent"]
    assert write(f"{IMAGE_URL}.meta4")["bytes_by_web_seeds"] >= len(IMAGE)


def test_a_torrent_by_transmission_with_a_web_seed_in_the_magnet_link(host, write):
    host.run("transmission-create")
    host.run("transmission-show")
    host.nginx()
    link = f"magnet:?xt=urn:btih:{listed(host).hex()}&xs={IMAGE_URL}.torrent&ws={IMAGE_URL}"
    assert write(link)["bytes_by_web_seeds"] >= len(IMAGE)


def test_a_torrent_by_mktorrent_with_a_web_seed(host, write):
    host.run("mktorrent")
    host.nginx()
    assert write(f"{IMAGE_URL}.torrent")["bytes_by_web_seeds"] >= len(IMAGE)
