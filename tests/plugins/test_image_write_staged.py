"""qcow2 from servers that cannot be read out of order: kept at the end of the disk, verified, then unpacked."""

import gzip

import pytest

from tests.support.deployment import deploy
from tests.support.disk_content import MIB, SHA, assert_boots_nothing, content, digest
from tests.support.plugin import PluginFailed
from tests.support.staged import assert_staged, qcow2_of

pytestmark = pytest.mark.root


@pytest.fixture
def images(tmp_path):
    return qcow2_of(tmp_path)


@pytest.mark.parametrize("habits", [{"ranges": False}, {"chunked": True}, {"ranges": False, "closes": True}])
def test_is_written_and_that_it_was_kept_is_told(call, serve, disk, images, habits):
    raw, published = images
    server = serve(published)
    vars(server).update(habits)
    answer = call("image.write", device=disk, sources=server.url, format="qcow2", digest=digest(published))
    assert_staged(disk, raw)
    assert (answer["bytes_read"], answer["bytes_written"]) == (len(published), len(raw))
    assert answer["stats"] == {"bytes_kept": len(published)}


def test_with_ranges_nothing_is_kept(call, serve, disk, images):
    raw, published = images
    answer = call("image.write", device=disk, sources=serve(published).url, format="qcow2", digest=digest(published))
    assert (answer["stats"], content(disk)[: len(raw)] == raw) == ({}, True)


def test_a_wrong_one_is_found_before_it_is_unpacked(call, serve, disk, images):
    server = serve(images[1])
    server.ranges = False
    before = content(disk)
    with pytest.raises(PluginFailed, match="first and last MiB are wiped") as failed:
        call("image.write", device=disk, sources=server.url, format="qcow2", digest=SHA)
    assert failed.value.code == "digest_mismatch"
    assert_boots_nothing(disk)
    assert content(disk)[MIB : 4 * MIB] == before[MIB : 4 * MIB], "nothing of it was unpacked"
    assert b"QFI\xfb" not in content(disk)


@pytest.mark.parametrize("habits", [{"ranges": False}, {"chunked": True}])
def test_without_room_beside_the_image_the_next_source_is_tried(call, serve, loop_disk, images, habits):
    raw, published = images
    disk, server = loop_disk(5), serve(published)
    vars(server).update(habits)
    with pytest.raises(PluginFailed, match=r"no room .*a web server with ranges.*") as failed:
        call("image.write", device=disk, sources=server.url, format="qcow2", digest=digest(published))
    assert failed.value.code == "no_room"
    sources = [server.url, serve(published).url]
    answer = call("image.write", device=disk, sources=sources, format="qcow2", digest=digest(published))
    # Of mirrors the one with ranges is read at once, if only the first one's lack of them is the trouble.
    assert [failure["code"] for failure in answer["failed"]] == ([] if "ranges" in habits else ["no_room"])
    assert content(disk)[: len(raw)] == raw


@pytest.mark.parametrize("other", [b"<html>sign in</html>", gzip.compress(bytes(MIB)), b""])
def test_what_is_something_else_is_refused_untouched(call, serve, disk, other):
    before, server = content(disk), serve(other)
    server.ranges = False
    with pytest.raises(PluginFailed, match="was not touched") as failed:
        call("image.write", device=disk, sources=server.url, format="qcow2")
    assert failed.value.code == ("wrong_format" if other else "empty")
    assert content(disk) == before


def test_ironic_deploys_it(call, serve, root_disk, tmp_path):
    raw, published = qcow2_of(tmp_path)
    server = serve(published)
    server.ranges = False
    answer = deploy(call, server, published, info={"disk_format": "qcow2"})
    assert (answer["device"], answer["transport"]) == (root_disk, "http")
    assert content(root_disk)[: len(raw)] == raw
