"""image.write from real swarms on loopback."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from plugin_harness import PluginFailed

pytest.importorskip("libtorrent", minversion="2.1")

from torrent_box import Leecher, wait_for

pytestmark = pytest.mark.root
MIB = 1 << 20
SLOW = 3 * MIB  # bytes a second of a seeder that a test wants to catch in the act


@pytest.fixture
def image():
    # Holes, and a size that is no multiple of anything.
    return os.urandom(2 * MIB) + bytes(3 * MIB) + os.urandom(3 * MIB + 12345)


def content(device):
    return Path(device).read_bytes()


def assert_boots_nothing(disk):
    data = content(disk)
    assert data[:MIB].count(0) == MIB
    assert data[-MIB:].count(0) == MIB


def assert_written(disk, image):
    data = content(disk)
    assert data[: len(image)] == image
    assert data[-MIB:].count(0) == MIB or len(image) > len(data) - MIB


def fetched(answer, kind):
    """What came by them, and what nobody has to send."""
    return answer["stats"][f"bytes_by_{kind}"] + answer["stats"].get("bytes_of_zeros", 0)


def write(call, disk, *sources, **more):
    return call("image.write", device=disk, sources=list(sources), patience_s=more.pop("patience_s", 10), **more)


@pytest.mark.parametrize("kind", ["v1", "hybrid"])
def test_from_a_web_seed_alone(call, box, image, loop_disk, kind):
    disk, one = loop_disk(16), box(image, kind=kind, web_seed=True, tracked=False)
    answer = write(call, disk, one.torrent_url, digest=one.digest)
    assert (answer["transport"], answer["source"], answer["bytes_written"]) == ("torrent", one.torrent_url, len(image))
    assert answer["digests"] == {"sha256": one.digest[7:]}
    assert fetched(answer, "web_seeds") >= len(image)
    assert answer["stats"]["bytes_by_peers"] == 0
    assert_written(disk, image)


@pytest.mark.parametrize("kind", ["v1", "hybrid", "v2"])
def test_from_peers_that_a_tracker_names(call, box, image, loop_disk, kind):
    disk, one = loop_disk(16), box(image, kind=kind)
    seeder = one.seeder()
    answer = write(call, disk, one.torrent_url, digest=one.digest)
    assert fetched(answer, "peers") >= len(image)
    assert answer["stats"]["bytes_by_web_seeds"] == 0
    assert seeder.uploaded + answer["stats"]["bytes_of_zeros"] >= len(image)
    assert_written(disk, image)
    assert any(asked["event"] == "started" for asked in one.tracker.asked)


def test_from_a_peer_that_takes_one_connection_only_of_an_address(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image)
    one.seeder(one_each=True)
    assert fetched(write(call, disk, one.torrent_url, digest=one.digest), "peers") >= len(image)
    assert_written(disk, image)


def test_a_magnet_link_whose_torrent_comes_from_a_peer(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image, tracked=False)
    magnet = one.seeder().magnet()
    answer = write(call, disk, magnet, digest=one.digest)
    assert answer["source"].startswith("magnet:?xt=urn:btih:")
    assert "x.pe" not in answer["source"]
    assert_written(disk, image)


def test_a_magnet_link_with_the_url_of_its_torrent_and_of_the_image(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image, web_seed=True, tracked=False)
    link = one.seeder().magnet(xs=one.torrent_url, **{"as": one.url}).replace("x.pe=", "x.none=")
    one.seeders.pop().kill()
    write(call, disk, link, digest=one.digest)
    assert_written(disk, image)


def test_a_torrent_file_on_this_machine(call, box, image, loop_disk, tmp_path):
    disk, one = loop_disk(16), box(image)
    one.seeder()
    path = tmp_path / "disk.torrent"
    path.write_bytes(one.torrent)
    write(call, disk, str(path), digest=one.digest)
    assert_written(disk, image)


@pytest.mark.parametrize(
    ("size", "piece"), [(8 * MIB, 1 << 18), (8 * MIB, 4 * MIB), (8 * MIB - 1, 1 << 20), (70000, 1 << 14)]
)
def test_sizes(call, box, loop_disk, size, piece):
    disk, body = loop_disk(8), os.urandom(size)
    one = box(body, piece=piece, web_seed=True)
    answer = write(call, disk, one.torrent_url, digest=one.digest)
    assert answer["bytes_written"] == size
    assert_written(disk, body)


def test_nothing_bootable_is_on_the_disk_before_the_verdict(call, box, loop_disk):
    body = os.urandom(16 * MIB)
    disk, one = loop_disk(16), box(body)
    one.seeder(SLOW)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest)
    seen = 0
    while running.process.poll() is None:
        with open(disk, "rb") as file:
            head, middle = file.read(MIB), file.read(14 * MIB)
            tail = file.read(MIB)
        if middle[4 * MIB : 5 * MIB] == body[5 * MIB : 6 * MIB] and running.process.poll() is None:
            seen += 1
            whole = middle == body[MIB : 15 * MIB]
            assert whole or head.count(0) == MIB
            assert whole or tail.count(0) == MIB
        time.sleep(0.02)
    running.finish()
    assert seen > 5
    assert_written(disk, body)


def test_wrong_digest(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image)
    one.seeder()
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest="9" * 64)
    assert failed.value.code == "digest_mismatch"
    assert one.digest[7:] in failed.value.message
    assert content(disk)[4 * MIB :][:MIB].count(0) == MIB, "it had been written"
    assert_boots_nothing(disk)


def test_a_killed_seeder_leads_to_the_next_source(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image)
    seeder = one.seeder(SLOW)
    one.serve_image()
    both = [one.torrent_url, one.url]
    running = call.start("image.write", device=disk, sources=both, digest=one.digest, patience_s=4)
    wait_for(lambda: seeder.uploaded > MIB, "the swarm gave a MiB")
    seeder.kill()
    answer = running.finish()
    assert (answer["transport"], answer["source"]) == ("http", one.url)
    assert [failure["code"] for failure in answer["failed"]] == ["connection_lost"]
    assert "no new byte for 4 s" in answer["failed"][0]["message"]
    assert_written(disk, image)


def test_nobody_there(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image)
    before = content(disk)
    with pytest.raises(PluginFailed, match="nobody gave a byte within") as failed:
        write(call, disk, one.torrent_url, digest=one.digest, patience_s=1.5)
    assert failed.value.code == "no_source"
    assert content(disk) == before, "not touched"


def test_a_web_seed_with_other_bytes(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image, web_seed=True)
    one.serve_image(os.urandom(len(image)))
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest=one.digest, patience_s=2)
    assert failed.value.code in ("no_source", "connection_lost")
    assert "hash" in failed.value.message


def test_too_large_for_the_disk(call, box, image, loop_disk):
    disk, one = loop_disk(4), box(image)
    before = content(disk)
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest=one.digest)
    assert failed.value.code == "too_large"
    assert content(disk) == before
    assert one.tracker.asked == [], "nobody was bothered"


def test_a_compressed_image_in_a_raw_request(call, box, loop_disk):
    disk, one = loop_disk(16), box(b"\x28\xb5\x2f\xfd" + os.urandom(3 * MIB))
    one.seeder()
    before = content(disk)
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest=one.digest)
    assert failed.value.code == "wrong_format"
    assert content(disk) == before


def test_cancelled(call, box, image, loop_disk):
    disk, one = loop_disk(16), box(image)
    seeder = one.seeder(SLOW)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest)
    wait_for(lambda: seeder.uploaded > 3 * MIB, "the swarm gave 3 MiB")
    running.terminate()
    with pytest.raises(PluginFailed) as failed:
        running.finish()
    assert failed.value.code == "stopped"
    assert_boots_nothing(disk)
    assert subprocess.run(["losetup", disk], capture_output=True, check=False).returncode == 0
    assert list((running.directory / "cwd").iterdir()) == [], "no scratch file is left"


def test_memory_does_not_grow_with_the_image(call, box, loop_disk):
    block = os.urandom(MIB)
    disk, one = loop_disk(210, garbage=False), box(block * 200, piece=MIB, web_seed=True)
    for _ in range(3):
        one.seeder()
    running, peak_kib = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest), 0
    while running.process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            text = Path(f"/proc/{running.process.pid}/smaps_rollup").read_text()
            peak_kib = max(peak_kib, int(text.split("\nPss:")[1].split()[0]))
        time.sleep(0.01)
    running.finish()
    assert 10 << 10 < peak_kib < 44 << 10


def test_it_gives_to_others_afterwards_until_told_to_end(call, box, image, loop_disk, tmp_path):
    disk, one = loop_disk(16), box(image)
    first = one.seeder()
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest, linger_s=40)
    wait_for(lambda: any("seeding" in e.get("message", "") for e in running.events), "it seeds")
    assert_written(disk, image)
    first.kill()
    one.tracker.peers = [("127.0.0.1", int(asked["port"])) for asked in one.tracker.asked]
    # All of it, from the two sessions of the plugin alone.
    other = Leecher(one, tmp_path)
    wait_for(other.complete, "another node got all from this one")
    assert other.path.read_bytes() == image
    running.terminate()
    answer = running.finish()
    assert answer["bytes_written"] == len(image)
    assert answer["stats"]["bytes_given"] >= len(image)
    assert_written(disk, image)
