"""image.write from a swarm with a web seed: peers first, the web seed for what they do not give."""

import contextlib
from pathlib import Path

import pytest

pytest.importorskip("libtorrent", minversion="2.1")

from tests.support.disk_content import noise
from tests.support.plugin import REPO
from tests.support.swarm import Swarm
from tests.support.waiting import HANG_S, wait_for

pytestmark = [pytest.mark.root, pytest.mark.swarm]
MIB = 1 << 20
IMAGE = noise(8 * MIB + 12800)


def write(call, disk, one):
    answer = call("image.write", device=disk, sources=[one.torrent_url], digest=one.digest, patience_s=HANG_S)
    assert Path(disk).read_bytes()[: len(one.body)] == one.body
    return answer["stats"]


@pytest.fixture
def one(tmp_path):
    with contextlib.closing(Swarm(tmp_path, IMAGE, web_seed=True)) as made:
        yield made


def test_a_web_seed_is_not_asked_while_peers_give(call, one, loop_disk, tmp_path):
    # On a busy machine peers may be quiet for seconds.
    (tmp_path / "sitecustomize.py").write_text(
        "from agent_router.image.sources.torrent import download\n"
        "download.QUIET_S, download.QUIET_ALONE_S = (60.0, 60.0), 60.0\n"
    )
    call.extra_env = {"PYTHONPATH": f"{REPO}:{tmp_path}"}
    one.seeder()
    stats = write(call, loop_disk(16), one)
    assert stats["bytes_by_web_seeds"] == 0
    assert stats["bytes_by_peers"] >= len(IMAGE)


def test_a_peer_that_gives_next_to_nothing_does_not_keep_the_web_seed_away(call, one, loop_disk):
    one.seeder(192 << 10)
    stats = write(call, loop_disk(16), one)
    assert stats["bytes_by_web_seeds"] > len(IMAGE) // 2
    assert stats["bytes_by_peers"] > 0


def test_a_web_seed_takes_over_from_peers_that_are_gone(call, one, loop_disk):
    seeder = one.seeder(first=4 * MIB)
    disk = loop_disk(16)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest, patience_s=HANG_S)
    wait_for(lambda: seeder.uploaded >= 2 * MIB, "the swarm gave 2 MiB")
    seeder.kill()
    stats = running.finish()["stats"]
    assert stats["bytes_by_peers"] > MIB
    assert stats["bytes_by_web_seeds"] > MIB
    assert Path(disk).read_bytes()[: len(IMAGE)] == IMAGE
