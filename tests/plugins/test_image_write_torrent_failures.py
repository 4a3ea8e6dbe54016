"""image.write from swarms that do not give the image, or not this one: what is said, and what the disk is then."""

import os
import subprocess

import pytest

from tests.support.disk_content import MIB, assert_boots_nothing, content
from tests.support.plugin import PluginFailed

pytest.importorskip("libtorrent", minversion="2.1")

from tests.support.swarm import assert_written, with_holes, write
from tests.support.waiting import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def image():
    return with_holes()


def test_wrong_digest(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image)
    one.seeder()
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest="9" * 64)
    assert failed.value.code == "digest_mismatch"
    assert one.digest[7:] in failed.value.message
    assert content(disk)[4 * MIB :][:MIB].count(0) == MIB, "it had been written"
    assert_boots_nothing(disk)


def test_a_killed_seeder_leads_to_the_next_source(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image)
    seeder = one.seeder(first=4 * MIB)
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


def test_nobody_there(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image)
    before = content(disk)
    with pytest.raises(PluginFailed, match="no peer sent a byte within") as failed:
        write(call, disk, one.torrent_url, digest=one.digest, patience_s=1.5)
    assert failed.value.code == "no_source"
    assert content(disk) == before, "not touched"


def test_a_web_seed_with_other_bytes(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image, web_seed=True)
    one.serve_image(os.urandom(len(image)))
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest=one.digest, patience_s=2)
    assert failed.value.code in ("no_source", "connection_lost")
    assert "hash" in failed.value.message


def test_too_large_for_the_disk(call, swarm, image, loop_disk):
    disk, one = loop_disk(4), swarm(image)
    before = content(disk)
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest=one.digest)
    assert failed.value.code == "too_large"
    assert content(disk) == before
    assert one.tracker.asked == [], "nobody was bothered"


def test_a_compressed_image_in_a_raw_request(call, swarm, loop_disk):
    disk, one = loop_disk(16), swarm(b"\x28\xb5\x2f\xfd" + os.urandom(3 * MIB))
    one.seeder()
    before = content(disk)
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest=one.digest)
    assert failed.value.code == "wrong_format"
    assert content(disk) == before


def test_cancelled(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image)
    seeder = one.seeder(first=4 * MIB)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest)
    wait_for(lambda: seeder.uploaded > MIB, "the swarm gave a MiB")
    running.terminate()
    with pytest.raises(PluginFailed) as failed:
        running.finish()
    assert failed.value.code == "stopped"
    assert_boots_nothing(disk)
    assert subprocess.run(["losetup", disk], capture_output=True, check=False).returncode == 0
    assert list((running.directory / "cwd").iterdir()) == [], "no scratch file is left"
