"""A file or block device of this machine as the source."""

import os
import subprocess
from pathlib import Path

import pytest

from agent_router.image.sources import Spec, make
from agent_router.image.sources.fetch import fetch
from agent_router.image.sources.file import FileSource, disks, refuse_same_disk
from agent_router.plugin import Failed, InvalidRequest, Refused
from tests.support.image_server import read_all
from tests.support.loop import LoopDevice, skip_without_loop_devices

IMAGE = os.urandom(1_200_001)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "an image.raw"
    path.write_bytes(IMAGE)
    return path


@pytest.fixture
def loop(tmp_path):
    """A loop device of 16 MiB with one partition, the kernel told of it."""
    skip_without_loop_devices()
    backing = tmp_path / "backing"
    backing.write_bytes(os.urandom(16 << 20))
    subprocess.run(["sfdisk", "-q", backing], input="label: gpt\n,\n", text=True, check=True)
    device = LoopDevice(backing)
    subprocess.run(["partx", "--add", device.path], check=True)
    yield device.path
    device.close()


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_file(image, form):
    source = make(Spec(form.format(str(image) if form == "{}" else str(image).replace(" ", "%20"))))
    source.open()
    assert (source.size, source.read_at(1000, 5)) == (len(IMAGE), IMAGE[1000:1005])
    assert source.read_at(len(IMAGE) - 2, 5) == IMAGE[-2:]
    assert source.read_at(len(IMAGE) + 2, 5) == b""
    assert read_all(source) == IMAGE
    assert source.offset == len(IMAGE)
    source.close()


def test_a_file_that_is_cut_short_while_it_is_read(image):
    source = FileSource(Spec(str(image)))
    source.open()
    os.truncate(image, 1000)
    with pytest.raises(Failed, match="became shorter") as failed:
        source.readinto(memoryview(bytearray(5000)))
    assert failed.value.code == "truncated"


def test_another_size_than_the_command_says(image):
    with pytest.raises(Failed) as failed:
        read_all(FileSource(Spec(str(image), size_bytes=5)))
    assert failed.value.details == {"expected": 5, "found": len(IMAGE)}


def test_what_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, code in ((tmp_path / "none", "unreachable"), (tmp_path, "bad_url"), (tmp_path / "pipe", "bad_url")):
        with pytest.raises(Failed) as failed:
            read_all(FileSource(Spec(str(path))))
        assert failed.value.code == code
        assert str(path) in failed.value.message


@pytest.mark.parametrize("url", ["file://elsewhere/x", "file:x", "file:", "file:///a%00b"])
def test_urls_that_name_no_file_of_this_machine(url):
    with pytest.raises(InvalidRequest, match="does not name a file of this machine"):
        FileSource(Spec(url))


def test_a_small_file_whole(image):
    assert fetch(Spec(str(image)), len(IMAGE)) == IMAGE
    with pytest.raises(Failed, match="has more than 1200000 bytes"):
        fetch(Spec(str(image)), len(IMAGE) - 1)


@pytest.mark.root
def test_a_block_device(loop):
    source = FileSource(Spec(loop))
    assert read_all(source) == Path(loop).read_bytes()
    assert source.size == 16 << 20


@pytest.mark.root
def test_never_the_disk_that_is_written(loop, image, tmp_path):
    partition = f"{loop}p1"
    for path, target in ((loop, loop), (partition, loop), (loop, partition), (partition, partition)):
        with pytest.raises(Refused, match=f"lies on {Path(loop).name}") as failed:
            read_all(FileSource(Spec(path, device=target)))
        assert failed.value.code == "same_device"
    refuse_same_disk(str(image), loop)  # the file system of the tests lies elsewhere


@pytest.mark.root
def test_never_a_file_on_the_disk_that_is_written(loop, tmp_path):
    subprocess.run(["mkfs.ext4", "-q", f"{loop}p1"], check=True)
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", f"{loop}p1", place], check=True)
    try:
        (place / "x.raw").write_bytes(b"x")
        with pytest.raises(Refused, match="which the image would be written to"):
            read_all(FileSource(Spec(str(place / "x.raw"), device=loop)))
    finally:
        subprocess.run(["umount", place], check=True)


def test_disks_are_looked_through(tmp_path):
    # dm-0 on md0, md0 on sda1 and sdb1.
    for number, path in (("253:0", "dm-0"), ("9:0", "md0"), ("8:1", "sda/sda1"), ("8:17", "sdb/sdb1"), ("8:0", "sda")):
        place = tmp_path / "devices" / path
        place.mkdir(parents=True, exist_ok=True)
        (place / "dev").write_text(f"{number}\n")
        for group, name in (("dev/block", number), ("class/block", place.name)):
            (tmp_path / group).mkdir(parents=True, exist_ok=True)
            (tmp_path / group / name).symlink_to(place)
    for part in ("sda/sda1", "sdb/sdb1"):
        (tmp_path / "devices" / part / "partition").write_text("1\n")
    for upper, lower in (("dm-0", "md0"), ("md0", "sda1"), ("md0", "sdb1")):
        (tmp_path / "devices" / upper / "slaves" / lower).mkdir(parents=True)
    assert disks(os.makedev(253, 0), tmp_path) == {"sda", "sdb"}
    assert disks(os.makedev(8, 1), tmp_path) == {"sda"}
    assert disks(os.makedev(7, 7), tmp_path) == set()
