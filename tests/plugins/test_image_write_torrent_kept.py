"""Torrents of compressed images, qcow2 and archives: kept on the disk's end or in the tree while they are unpacked."""

import gzip
import os
import signal
import subprocess

import pytest

from tests.support.disk_content import MIB, assert_boots_nothing, content, noise
from tests.support.packers import PACKERS
from tests.support.plugin import PluginFailed
from tests.support.trees import fill, found, pack

pytest.importorskip("libtorrent", minversion="2.1")

from tests.support.swarm import assert_given_on, write
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def image():
    return noise(2 * MIB) + bytes(3 * MIB) + noise(2 * MIB + 512 * 77)


def assert_written(disk, image, one):
    """The image, then the garbage that was there before, then zeros where the torrent was kept, to the end."""
    data = content(disk)
    kept = (len(data) - MIB - len(one.body)) // MIB * MIB
    assert data[: len(image)] == image
    assert data[len(image) : kept].count(0) < (kept - len(image)) // 100, "what was not needed is as it was"
    assert data[kept:] == bytes(len(data) - kept)


def qcow2(directory, image, *options):
    raw, made = directory / "plain", directory / "made.qcow2"
    raw.write_bytes(image)
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, str(raw), str(made)]
    subprocess.run(argv, check=True)
    return made.read_bytes()


@pytest.mark.parametrize("form", PACKERS)
def test_compressed_images(call, swarm, image, loop_disk, form):
    disk, one = loop_disk(24), swarm(PACKERS[form](image))
    one.seeder()
    answer = write(call, disk, one.torrent_url, format=form, digest=one.digest)
    assert (answer["transport"], answer["format"], answer["bytes_written"]) == ("torrent", form, len(image))
    assert answer["bytes_read"] == len(one.body)
    assert answer["digests"] == {"sha256": one.digest[7:]}
    assert answer["stats"]["bytes_by_peers"] >= len(one.body)
    assert answer["stats"]["bytes_kept"] == len(one.body)
    assert_written(disk, image, one)


@pytest.mark.parametrize("options", [(), ("-c",), ("-c", "-o", "compression_type=zstd")])
def test_qcow2_whose_tables_are_fetched_out_of_order(call, swarm, image, loop_disk, tmp_path, options):
    disk, one = loop_disk(24), swarm(qcow2(tmp_path, image, *options))
    one.seeder()
    answer = write(call, disk, one.torrent_url, format="qcow2", digest=one.digest)
    assert answer["bytes_written"] == len(image)
    assert_written(disk, image, one)


def test_from_a_web_seed(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(PACKERS["zst"](image), web_seed=True, tracked=False)
    answer = write(call, disk, one.torrent_url, format="zst", digest=one.digest)
    assert answer["stats"]["bytes_by_web_seeds"] >= len(one.body)
    assert_written(disk, image, one)


def test_a_raw_image_with_a_block_map(call, swarm, image, loop_disk, tmp_path):
    disk, one = loop_disk(24), swarm(image)
    one.seeder()
    (tmp_path / "bmap").write_text(
        f'<?xml version="1.0" ?>\n<bmap version="2.0"><ImageSize> {len(image)} </ImageSize>'
        f"<BlockSize> 4096 </BlockSize><BlocksCount> {-(-len(image) // 4096)} </BlocksCount>"
        "<MappedBlocksCount> 512 </MappedBlocksCount><BlockMap><Range> 0-511 </Range></BlockMap></bmap>"
    )
    write(call, disk, one.torrent_url, digest=one.digest, bmap=str(tmp_path / "bmap"))
    assert content(disk)[: len(image)] == image[: 2 * MIB] + bytes(len(image) - 2 * MIB)


@pytest.mark.parametrize("size", [1024, 300 << 10])
def test_an_image_of_few_pieces(call, swarm, loop_disk, size):
    disk, one = loop_disk(8), swarm(gzip.compress(noise(size)))
    one.seeder()
    write(call, disk, one.torrent_url, format="gz", digest=one.digest)
    assert content(disk)[:size] == gzip.decompress(one.body)


def test_after_a_discard_of_the_whole_disk(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(PACKERS["gz"](image))
    one.seeder()
    write(call, disk, one.torrent_url, format="gz", digest=one.digest, zero="discard")
    assert content(disk) == image + bytes(24 * MIB - len(image))


@pytest.mark.parametrize("form", ["zst", "qcow2"])
def test_no_room_beside_an_image_that_tells_its_size(call, swarm, image, loop_disk, tmp_path, form):
    body = qcow2(tmp_path, image, "-c") if form == "qcow2" else PACKERS[form](image)
    disk, one = loop_disk(9), swarm(body)
    before = content(disk)
    one.seeder()
    with pytest.raises(PluginFailed, match="no room for the image and, beside it") as failed:
        write(call, disk, one.torrent_url, format=form, digest=one.digest)
    assert failed.value.code == "no_room"
    assert "was not touched" in failed.value.message
    assert content(disk) == before
    one.serve_image()
    answer = write(call, disk, one.torrent_url, one.url, format=form, digest=one.digest)
    assert (answer["transport"], answer["failed"][0]["code"]) == ("http", "no_room")
    assert content(disk)[: len(image)] == image


def test_no_room_beside_an_image_that_turns_out_to_be_larger(call, swarm, image, loop_disk):
    disk, one = loop_disk(9), swarm(PACKERS["gz"](image))
    one.seeder()
    one.serve_image()
    answer = write(call, disk, one.torrent_url, one.url, format="gz", digest=one.digest)
    assert (answer["transport"], answer["failed"][0]["code"]) == ("http", "no_room")
    assert content(disk)[: len(image)] == image
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, format="gz", digest=one.digest)
    assert failed.value.code == "no_room"
    assert_boots_nothing(disk)


def test_what_is_no_such_file_leaves_the_disk_untouched(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(image)
    one.seeder()
    before = content(disk)
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, format="zst", digest=one.digest)
    assert failed.value.code == "wrong_format"
    assert content(disk) == before


def test_wrong_digest(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(PACKERS["zst"](image))
    one.seeder()
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, format="zst", digest="9" * 64)
    assert failed.value.code == "digest_mismatch"
    assert_boots_nothing(disk)
    assert one.body[3 * MIB : 3 * MIB + 4096] not in content(disk), "what was kept is gone"


def test_an_image_that_was_cut_off_before_the_torrent_was_made(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(PACKERS["zst"](image)[:-MIB])
    one.seeder()
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, one.torrent_url, format="zst", digest=one.digest)
    assert failed.value.code == "truncated"
    assert_boots_nothing(disk)


def test_nothing_bootable_and_no_device_is_left_by_a_kill(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(PACKERS["gz"](image))
    seeder = one.seeder(first=3 * MIB)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], format="gz", digest=one.digest)
    wait_for(lambda: seeder.uploaded > 2 * MIB, "the swarm gave 2 MiB")
    assert kept_on(disk)
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert_boots_nothing(disk)
    wait_for(lambda: not kept_on(disk), "the kernel has given up the device")
    one.serve_image()
    write(call, disk, one.url, format="gz", digest=one.digest)
    assert content(disk)[: len(image)] == image


def test_cancelled(call, swarm, image, loop_disk):
    disk, one = loop_disk(24), swarm(PACKERS["gz"](image))
    seeder = one.seeder(first=3 * MIB)
    running = call.start("image.write", device=disk, sources=[one.torrent_url], format="gz", digest=one.digest)
    wait_for(lambda: seeder.uploaded > 2 * MIB, "the swarm gave 2 MiB")
    running.terminate()
    with pytest.raises(PluginFailed) as failed:
        running.finish()
    assert failed.value.code == "stopped"
    assert_boots_nothing(disk)
    assert not kept_on(disk)


def test_it_gives_the_packed_file_to_others_until_told_to_end(call, swarm, image, loop_disk, tmp_path):
    disk, one = loop_disk(24), swarm(PACKERS["zst"](image))
    first = one.seeder()
    more = {"format": "zst", "digest": one.digest, "linger_s": HANG_S}
    running = call.start("image.write", device=disk, sources=[one.torrent_url], **more)
    wait_for(lambda: any("seeding" in e.get("message", "") for e in running.events), "it seeds")
    assert content(disk)[: len(image)] == image
    first.kill()
    assert_given_on(one, tmp_path)
    running.terminate()
    running.finish()
    assert_written(disk, image, one)


def test_an_archive_into_a_tree(call, swarm, mounted, tmp_path):
    origin = tmp_path / "origin"
    origin.mkdir()
    fill(origin)
    (origin / "noise").write_bytes(noise(3 * MIB))
    place, one = mounted(), swarm(gzip.compress(pack(origin)))
    one.seeder()
    source = {"sources": one.torrent_url, "digest": one.digest, "format": "tar.gz"}
    answer = call("image.write", tree=str(place), **source)
    assert answer["stats"]["bytes_kept"] == len(one.body)
    assert found(place) == found(origin)


def test_an_archive_without_room_for_it_in_the_tree(call, swarm, mounted):
    place, one = mounted(8), swarm(b"\x1f\x8b" + noise(9 * MIB))
    one.seeder()
    source = {"sources": one.torrent_url, "digest": one.digest, "format": "tar.gz"}
    with pytest.raises(PluginFailed, match="no room for the image") as failed:
        call("image.write", tree=str(place), **source)
    assert failed.value.code == "no_room"
    assert [path.name for path in place.iterdir()] == ["lost+found"]


def kept_on(disk):
    """Loop devices on a part of this disk."""
    listed = subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"],
                            capture_output=True, text=True, check=True)  # fmt: skip
    return [line for line in listed.stdout.split() if line == disk]
