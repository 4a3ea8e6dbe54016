"""What a machine does not fetch by torrent: holes of the image, and what its disk has from the last time."""

import os
import signal

import pytest

from tests.support.disk_content import MIB, content, noise

pytest.importorskip("libtorrent", minversion="2.1")

from tests.support.swarm import PIECE, assert_given_on
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def image():
    return noise(3 * MIB) + bytes(4 * MIB) + os.urandom(3 * MIB) + bytes(MIB) + os.urandom(2 * MIB + 512)


def write(call, disk, one, **more):
    answer = call("image.write", device=disk, sources=[one.torrent_url], digest=one.digest, patience_s=HANG_S, **more)
    assert content(disk)[: len(one.body)] == one.body
    return answer


@pytest.mark.parametrize("zero", ["auto", "discard", "zeroout", "none"])
@pytest.mark.parametrize("kind", ["v1", "hybrid"])
def test_zeros_are_made_and_not_fetched(call, swarm, image, loop_disk, kind, zero):
    disk, one = loop_disk(16), swarm(image, kind=kind)
    seeder = one.seeder()
    answer = write(call, disk, one, zero=zero)
    assert answer["stats"]["bytes_of_zeros"] == 5 * MIB
    assert seeder.uploaded <= len(image) - 5 * MIB
    assert (answer["bytes_written"], answer["bytes_zeroed"] >= 5 * MIB) == (len(image), True)


def test_a_torrent_of_version_2_alone_is_fetched_as_a_whole(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image, kind="v2")
    one.seeder()
    stats = write(call, disk, one)["stats"]
    assert (stats["bytes_of_zeros"], stats["bytes_there"]) == (0, 0)
    assert stats["bytes_by_peers"] >= len(image)


def test_an_image_of_zeros(call, swarm, loop_disk):
    disk, one = loop_disk(16), swarm(bytes(8 * MIB))
    one.seeder()
    # Only the two ends of the image come from the swarm.
    assert write(call, disk, one)["stats"]["bytes_by_peers"] <= 2 * MIB + 2 * PIECE


def test_zeros_are_given_to_others_who_ask_for_them(call, swarm, image, loop_disk, tmp_path):
    disk, one = loop_disk(16), swarm(image)
    first = one.seeder()
    more = {"sources": [one.torrent_url], "digest": one.digest, "linger_s": HANG_S}
    running = call.start("image.write", device=disk, **more)
    wait_for(lambda: any("seeding" in e.get("message", "") for e in running.events), "it seeds")
    first.kill()
    assert_given_on(one, tmp_path)
    running.terminate()
    assert running.finish()["stats"]["bytes_wasted"] == 0


def test_what_the_disk_has_from_the_last_time_is_not_fetched_again(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image)
    one.seeder()
    write(call, disk, one)
    with open(disk, "r+b") as file:  # it has been in use since: some pieces are not what they were
        for piece in (5, 6, 30):
            os.pwrite(file.fileno(), b"used", piece * PIECE + 77)
    stats = write(call, disk, one)["stats"]
    # The ends, which are always wiped, and three pieces.
    assert stats["bytes_by_peers"] <= 2 * MIB + 2 * PIECE + 3 * PIECE
    assert stats["bytes_there"] == len(image) // PIECE * PIECE - 5 * MIB - 2 * MIB + 0 * PIECE - 3 * PIECE


def test_another_version_of_an_image_brings_what_changed(call, swarm, image, loop_disk):
    disk, old = loop_disk(16), swarm(image)
    old.seeder()
    write(call, disk, old)
    changed = image[: 8 * MIB] + os.urandom(MIB) + image[9 * MIB :]
    new = swarm(changed)
    new.seeder()
    assert write(call, disk, new)["stats"]["bytes_by_peers"] <= 3 * MIB + 2 * PIECE


def test_a_disk_with_something_else_is_looked_at_only_here_and_there(call, swarm, image, loop_disk):
    disk, one = loop_disk(16), swarm(image)
    one.seeder()
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest)
    assert running.finish()["stats"]["bytes_there"] == 0
    assert not [event for event in running.events if event.get("unit") == "pieces"]


def test_a_download_that_was_killed_goes_on_where_it_was(call, swarm, loop_disk):
    disk, one = loop_disk(14), swarm(noise(10 * MIB))
    seeder = one.seeder(first=7 * MIB)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest)
    wait_for(lambda: seeder.uploaded >= 7 * MIB, "the swarm gave 7 MiB")
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    seeder.kill()
    one.seeder()
    stats = write(call, disk, one)["stats"]
    assert stats["bytes_there"] > 3 * MIB
    assert stats["bytes_by_peers"] < 7 * MIB
