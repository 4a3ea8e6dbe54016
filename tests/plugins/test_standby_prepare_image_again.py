"""A second attempt in the same boot: the image is written again unless nothing can have touched the disk."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support.deployment import config_drive, packed
from tests.support.disks import MIB, gpt_image
from tests.support.loop import backing_of

COMMAND = "standby.prepare_image"


@pytest.fixture
def disk(root_disk):
    return root_disk


@pytest.fixture
def image(tmp_path):
    return gpt_image(tmp_path / "image")


@pytest.fixture
def server(serve, image):
    return serve(image)


def prepare(call, server, image, configdrive=None, **info):
    info = {"id": "x", "urls": [server.url], "checksum": hashlib.sha256(image).hexdigest()} | info
    return call(COMMAND, image_info=info, root_device={"serial": "root"}, configdrive=configdrive)


@pytest.mark.root
def test_the_same_image_is_not_written_again(call, server, image, disk, tmp_path):
    first = prepare(call, server, image)
    before = Path(disk).read_bytes()
    drive = config_drive(tmp_path)
    second = prepare(call, server, image, packed(drive))
    assert len(server.requests) == 1
    assert (second["bytes_written"], second["root_uuid"]) == (0, first["root_uuid"])
    assert "was already on" in second["message"]
    assert (first["transport"], second["transport"], second["source"]) == ("http", None, None)
    assert Path(disk).read_bytes()[MIB : 7 * MIB] == before[MIB : 7 * MIB]
    place = second["config_drive"]["start"]
    assert Path(disk).read_bytes()[place:][: len(drive)] == drive
    prepare(call, server, image, packed(drive))
    assert len(server.requests) == 1
    prepare(call, server, image)
    assert len(server.requests) == 2, "the config drive of the attempt before must not stay"


@pytest.mark.root
@pytest.mark.parametrize("info", [{"id": "y"}, {"os_hash_algo": "sha512"}])
def test_another_image_is_written(call, server, image, disk, info):
    prepare(call, server, image)
    if "os_hash_algo" in info:
        info = info | {"os_hash_value": hashlib.sha512(image).hexdigest()}
    assert prepare(call, server, image, **info)["bytes_written"] == len(image)


@pytest.mark.root
def test_after_anything_was_written_it_is_written_again(call, server, image, disk):
    prepare(call, server, image)
    with Path(disk).open("r+b") as out:  # where no sample is taken, and not even flushed
        out.seek(5 * MIB + 3 * 4096)
        out.write(b"?")
    prepare(call, server, image)
    assert len(server.requests) == 2
    assert Path(disk).read_bytes()[MIB : 7 * MIB] == image[MIB : 7 * MIB]


@pytest.mark.root
def test_after_the_disk_erased_itself_it_is_written_again(call, server, image, disk):
    prepare(call, server, image)
    with backing_of(disk).open("r+b") as out:  # past the kernel's counters of the disk
        out.write(bytes(MIB))
    prepare(call, server, image)
    assert len(server.requests) == 2
    assert Path(disk).read_bytes()[510:512] == image[510:512] == b"\x55\xaa"


@pytest.mark.root
def test_a_qcow2_image_is_deployed(call, serve, image, disk, tmp_path):
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(tmp_path / "image"), str(tmp_path / "q")], check=True)
    published = (tmp_path / "q").read_bytes()
    answer = prepare(call, serve(published), published, disk_format="qcow2")
    assert answer["bytes_written"] == len(image)
    assert Path(disk).read_bytes()[2048 * 512 : 7 * MIB] == image[2048 * 512 : 7 * MIB]
