"""image.write from real swarms where aria2 is installed and libtorrent is not."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.disk_content import MIB, assert_boots_nothing, content
from tests.support.plugin import REPO, PluginFailed

pytest.importorskip("libtorrent", minversion="2.1", reason="the other peers are libtorrent's")
if shutil.which("aria2c") is None:
    pytest.skip("aria2c is not installed; make packages does that", allow_module_level=True)

from tests.support.packers import zst
from tests.support.swarm import assert_given_on
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def without_libtorrent(call, tmp_path):
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow/libtorrent.py").write_text("raise ImportError\n")
    call.extra_env = {"PYTHONPATH": f"{tmp_path}/shadow:{REPO}"}


@pytest.fixture
def image():
    return os.urandom(2 * MIB) + bytes(3 * MIB) + os.urandom(2 * MIB + 512 * 77)


def write(call, disk, *sources, **more):
    return call("image.write", device=disk, sources=list(sources), patience_s=more.pop("patience_s", HANG_S), **more)


def assert_written(disk, image):
    data = content(disk)
    assert data[: len(image)] == image
    assert data[-MIB:].count(0) == MIB


def running_aria2c(running):
    """Processes that were started for this command."""
    mark = f"--stop-with-process={running.process.pid}"
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(path.parent.name)
    return found


def test_a_raw_image_from_peers(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    seeder = one.seeder()
    answer = write(call, disk, one.torrent_url, digest=one.digest)
    assert (answer["transport"], answer["bytes_written"]) == ("torrent", len(image))
    assert (answer["stats"]["engine"], answer["stats"]["bytes_kept"]) == ("aria2", len(image))
    assert seeder.uploaded >= len(image)
    assert_written(disk, image)


def test_a_compressed_image_from_a_web_seed(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(zst(image), web_seed=True, tracked=False)
    write(call, disk, one.torrent_url, format="zst", digest=one.digest)
    assert_written(disk, image)


def test_a_magnet_link_with_the_url_of_its_torrent(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    link = one.seeder().magnet(xs=one.torrent_url).replace("x.pe=", "x.none=")
    write(call, disk, link, digest=one.digest)
    assert_written(disk, image)


def test_a_magnet_link_whose_torrent_comes_from_a_peer(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    link = one.seeder().magnet(tr=one.tracker.url)
    write(call, disk, link, digest=one.digest)
    assert_written(disk, image)


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
def test_a_torrent_of_version_2_comes_from_the_next_source(call, swarm, image, loop_disk, kind):
    disk, one = loop_disk(24), swarm(image, kind=kind)
    one.serve_image()
    answer = write(call, disk, one.torrent_url, one.url, digest=one.digest)
    assert answer["transport"] == "http"
    assert "version 2 or a hybrid, which aria2 does not know" in answer["failed"][0]["message"]


def test_a_raw_image_without_room_beside_it(call, swarm, image, loop_disk):
    disk, one = loop_disk(12), swarm(image)
    before = content(disk)
    with pytest.raises(PluginFailed, match="no room for the image") as failed:
        write(call, disk, one.torrent_url, digest=one.digest)
    assert failed.value.code == "no_room"
    assert content(disk) == before


def test_wrong_digest(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    one.seeder()
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, digest="9" * 64)
    assert failed.value.code == "digest_mismatch"
    assert_boots_nothing(disk)


def test_nobody_there(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    with pytest.raises(PluginFailed, match="nobody gave a byte within") as failed:
        write(call, disk, one.torrent_url, digest=one.digest, patience_s=2)
    assert failed.value.code == "no_source"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_aria2_when_the_command_ends(call, swarm, image, loop_disk, how):
    disk, one = loop_disk(24), swarm(image)
    seeder = one.seeder(first=4 * MIB)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest)
    wait_for(lambda: seeder.uploaded > MIB, "the swarm gave a MiB")
    assert running_aria2c(running)
    os.kill(running.process.pid, how)  # the plugin alone; the agent would end its group
    running.process.wait()
    wait_for(lambda: not running_aria2c(running), "aria2c ended")
    assert_boots_nothing(disk)


def test_a_killed_aria2_leads_to_the_next_source(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    seeder = one.seeder(first=4 * MIB)
    one.serve_image()
    both = [one.torrent_url, one.url]
    running = call.start("image.write", device=disk, sources=both, digest=one.digest)
    wait_for(lambda: seeder.uploaded > MIB, "the swarm gave a MiB")
    for pid in running_aria2c(running):
        os.kill(int(pid), signal.SIGKILL)
    answer = running.finish()
    assert (answer["transport"], answer["failed"][0]["code"]) == ("http", "connection_lost")
    assert content(disk)[: len(image)] == image


def test_it_gives_to_others_afterwards(call, swarm, image, loop_disk, tmp_path):
    disk, one = loop_disk(24), swarm(image)
    first = one.seeder()
    running = call.start("image.write", device=disk, sources=[one.torrent_url], digest=one.digest, linger_s=HANG_S)
    wait_for(lambda: any("seeding" in e.get("message", "") for e in running.events), "it seeds")
    assert content(disk)[: len(image)] == image
    first.kill()
    assert_given_on(one, tmp_path)
    running.terminate()
    assert running.finish()["stats"]["bytes_given"] >= len(image)


def test_without_either_it_comes_from_the_next_source(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    one.serve_image()
    call.hide_tools()
    answer = write(call, disk, one.torrent_url, one.url, digest=one.digest)
    assert (answer["transport"], answer["failed"][0]["code"]) == ("http", "no_source")
    assert "needs libtorrent 2.1 or newer" in answer["failed"][0]["message"]
    assert "aria2 would do as well" in answer["failed"][0]["message"]
    assert content(disk)[: len(image)] == image
