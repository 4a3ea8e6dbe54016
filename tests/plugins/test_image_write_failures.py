import os
import subprocess

import pytest

from tests.support.disk_content import MIB, SHA, assert_boots_nothing, content, digest
from tests.support.plugin import PluginFailed
from tests.support.waiting import HANG_S


@pytest.mark.root
@pytest.mark.parametrize(("habits", "request_", "code", "message"), [
    ({"statuses": [404]}, {}, "http_error", "HTTP 404 Not Found"),
    ({"statuses": [401]}, {}, "http_error", "HTTP 401"),
    ({"announce": 17 * MIB}, {}, "too_large", "the image has 17825792 bytes"),
    ({}, {"size_bytes": 5}, "wrong_size", "expected 5"),
    ({"encoding": "gzip"}, {}, "encoded", "sends it as gzip"),
    ({"body": b""}, {}, "empty", "is empty"),
    ({"body": b"QFI\xfb\0\0\0\3" * 100}, {}, "wrong_format", "is a qcow2 image"),
    ({"body": b"\x1f\x8b\x08" * 100}, {}, "wrong_format", "is a gzip file"),
    ({"redirect": "ftp://127.0.0.1/x"}, {}, "http_error", "only http and https"),
])  # fmt: skip
def test_refused_before_the_first_write(call, server, disk, habits, request_, code, message):
    before = content(disk)
    for key, value in habits.items():
        setattr(server, key, value)
    with pytest.raises(PluginFailed, match=message) as failed:
        call("image.write", device=disk, sources=server.url, digest=SHA, patience_s=1, **request_)
    assert failed.value.code == code
    assert "was not touched" in failed.value.message
    assert content(disk) == before


@pytest.mark.root
def test_an_image_that_turns_out_too_large(call, server, loop_disk):
    disk = loop_disk(4)
    server.chunked = True
    with pytest.raises(PluginFailed, match=f"{disk} has {4 * MIB}") as failed:
        call("image.write", device=disk, sources=server.url)
    assert failed.value.code == "too_large"
    assert_boots_nothing(disk)


def in_the_middle(call, server, image, disk):
    """A command that has written some of the image and waits for the rest."""
    server.silent_after = 4 * MIB
    running = call.start("image.write", device=disk, sources=server.url, digest=digest(image), patience_s=HANG_S)
    running.wait_until(lambda: content(disk)[2 * MIB : 3 * MIB] == image[2 * MIB : 3 * MIB])
    return running


@pytest.mark.root
def test_sigterm_in_the_middle_wipes_the_ends(call, server, image, disk):
    running = in_the_middle(call, server, image, disk)
    running.terminate()
    running.terminate()
    with pytest.raises(PluginFailed, match=r"stopped after \d+ bytes") as failed:
        running.finish()
    assert (failed.value.code, failed.value.exit_status) == ("stopped", 1)
    assert failed.value.partial["disk"] == "wiped"
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_disk_in_use_is_left_alone(call, server, disk, tmp_path):
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    mountpoint = tmp_path / "mount"
    mountpoint.mkdir()
    subprocess.run(["mount", disk, str(mountpoint)], check=True)
    try:
        with pytest.raises(PluginFailed, match="is mounted at") as failed:
            call("image.write", device=disk, sources=server.url)
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)
    assert failed.value.exit_status == 77
    assert server.requests == []


@pytest.mark.root
@pytest.mark.parametrize(("request_", "code"), [
    ({}, "no_place"), ({"device": "DISK", "tree": "/mnt"}, "no_place"),
    ({"device": "DISK", "format": "tar.gz"}, "wrong_format"), ({"tree": "/mnt"}, "wrong_format"),
    ({"device": "DISK", "digest": [SHA, "8" * 64]}, "bad_checksum"),
    ({"device": "DISK", "digest": "x:" + SHA}, "bad_checksum"),
])  # fmt: skip
def test_what_makes_no_sense_is_said_before_anything_is_asked_or_touched(call, server, disk, request_, code):
    before = content(disk)
    request_ = {key: disk if value == "DISK" else value for key, value in request_.items()}
    with pytest.raises(PluginFailed) as failed:
        call("image.write", sources=server.url, **request_)
    assert (failed.value.code, failed.value.exit_status) == (code, 64)
    assert (content(disk), server.requests) == (before, [])


@pytest.mark.root
def test_an_image_for_other_sectors_is_refused_untouched(call, serve, disk_of_4k_sectors):
    before = content(disk_of_4k_sectors)
    image = bytes(512) + b"EFI PART" + os.urandom(2 * MIB)
    with pytest.raises(PluginFailed, match="sectors of 512 bytes and does not boot") as failed:
        call("image.write", device=disk_of_4k_sectors, sources=serve(image).url, digest=digest(image))
    assert (failed.value.code, failed.value.exit_status) == ("sector_size", 69)
    assert content(disk_of_4k_sectors) == before


@pytest.mark.root
def test_kill_9_in_the_middle_leaves_nothing_that_boots(call, server, image, disk):
    running = in_the_middle(call, server, image, disk)
    running.process.kill()
    running.process.wait()
    assert_boots_nothing(disk)
