"""image.write from real swarms on loopback."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from tests.support.disk_content import MIB, noise

pytest.importorskip("libtorrent", minversion="2.1")

from tests.support.swarm import assert_given_on, assert_written, with_holes, write
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def image():
    return with_holes()


def fetched(answer, kind):
    """What came by them, and what nobody has to send."""
    return answer["stats"][f"bytes_by_{kind}"] + answer["stats"].get("bytes_of_zeros", 0)


@pytest.mark.parametrize("kind", ["v1", "hybrid"])
def test_from_a_web_seed_alone(call, swarm, image, loop_disk, kind):
    disk, one = loop_disk(16), swarm(image, kind=kind, web_seed=True, tracked=False)
    answer = write(call, disk, one.torrent_url, digest=one.digest)
    assert (answer["transport"], answer["source"], answer["bytes_written"]) == ("torrent", one.torrent_url, len(image))
    assert answer["digests"] == {"sha256": one.digest[7:]}
    assert fetched(answer, "web_seeds") >= len(image)
    assert answer["stats"]["bytes_by_peers"] == 0
    assert_written(disk, image)


@pytest.mark.parametrize("kind", ["v1", "hybrid", "v2"])
def test_from_peers_that_a_tracker_names(call, swarm, image, loop_disk, kind):
    disk, one = loop_disk(16), swarm(image, kind=kind)
    seeder = one.seeder()
    answer = write(call, disk, one.torrent_url, digest=one.digest)
    assert fetched(answer, "peers") >= len(image)
    assert answer["stats"]["bytes_by_web_seeds"] == 0
    assert seeder.uploaded + answer["stats"]["bytes_of_zeros"] >= len(image)
    assert_written(disk, image)
    assert any(asked["event"] == "started" for asked in one.tracker.asked)


def test_from_a_peer_that_takes_one_connection_only_of_an_address(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image)
    one.seeder(one_each=True)
    written = write(call, disk, one.torrent_url, digest=one.digest, patience_s=20)
    assert fetched(written, "peers") >= len(image)
    assert_written(disk, image)


def test_a_magnet_link_whose_torrent_comes_from_a_peer(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image, tracked=False)
    magnet = one.seeder().magnet()
    answer = write(call, disk, magnet, digest=one.digest)
    assert answer["source"].startswith("magnet:?xt=urn:btih:")
    assert "x.pe" not in answer["source"]
    assert_written(disk, image)


def test_a_magnet_link_with_the_url_of_its_torrent_and_of_the_image(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image, web_seed=True, tracked=False)
    link = one.seeder().magnet(xs=one.torrent_url, **{"as": one.url}).replace("x.pe=", "x.none=")
    one.seeders.pop().kill()
    write(call, disk, link, digest=one.digest)
    assert_written(disk, image)


def test_a_torrent_file_on_this_machine(call, swarm, image, loop_disk, tmp_path):
    disk, one = loop_disk(16), swarm(image)
    one.seeder()
    path = tmp_path / "disk.torrent"
    path.write_bytes(one.torrent)
    write(call, disk, str(path), digest=one.digest)
    assert_written(disk, image)


@pytest.mark.parametrize(
    ("size", "piece"), [(8 * MIB, 1 << 18), (8 * MIB, 4 * MIB), (8 * MIB - 512, 1 << 20), (70144, 1 << 14)]
)
def test_sizes(call, swarm, loop_disk, size, piece):
    disk, body = loop_disk(8), os.urandom(size)
    one = swarm(body, piece=piece, web_seed=True)
    answer = write(call, disk, one.torrent_url, digest=one.digest)
    assert answer["bytes_written"] == size
    assert_written(disk, body)


def test_nothing_bootable_is_on_the_disk_before_the_verdict(call, swarm, loop_disk):
    body = noise(16 * MIB)
    disk, one = loop_disk(16), swarm(body)
    one.seeder(first=12 * MIB)
    running, seen, rest = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest), 0, None
    while running.process.poll() is None:
        with open(disk, "rb") as file:
            head, middle = file.read(MIB), file.read(14 * MIB)
            tail = file.read(MIB)
        if middle[4 * MIB : 5 * MIB] == body[5 * MIB : 6 * MIB] and running.process.poll() is None:
            seen += 1
            whole = middle == body[MIB : 15 * MIB]
            assert whole or head.count(0) == MIB
            assert whole or tail.count(0) == MIB
        if seen == 5 and rest is None:
            rest = one.seeder()
            for asked in one.tracker.asked:
                rest.connect(int(asked["port"]))
        time.sleep(0.02)  # between two samples
    running.finish()
    assert seen > 5
    assert_written(disk, body)


def test_memory_does_not_grow_with_the_image(call, swarm, loop_disk):
    block = os.urandom(MIB)
    disk, one = loop_disk(210, garbage=False), swarm(block * 200, piece=MIB, web_seed=True)
    for _ in range(3):
        one.seeder()
    running, peak_kib = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest), 0
    while running.process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            text = Path(f"/proc/{running.process.pid}/smaps_rollup").read_text()
            peak_kib = max(peak_kib, int(text.split("\nPss:")[1].split()[0]))
        time.sleep(0.01)  # between two samples
    running.finish()
    assert 10 << 10 < peak_kib < 44 << 10


def test_it_gives_to_others_afterwards_until_told_to_end(call, swarm, image, loop_disk, tmp_path):
    disk, one = loop_disk(16), swarm(image)
    first = one.seeder()
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest, linger_s=HANG_S)
    wait_for(lambda: any("seeding" in e.get("message", "") for e in running.events), "it seeds")
    assert_written(disk, image)
    first.kill()
    assert_given_on(one, tmp_path)
    running.terminate()
    answer = running.finish()
    assert answer["bytes_written"] == len(image)
    assert answer["stats"]["bytes_given"] >= len(image)
    assert_written(disk, image)
