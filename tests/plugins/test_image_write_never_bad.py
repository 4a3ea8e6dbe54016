"""Never a bad disk: whatever is published, a disk full of garbage boots nothing afterwards, or is as it was."""

import shutil
import subprocess

import pytest

from tests.support.bad_images import DISK_MIB, SHORT, SIZE, UNTOUCHED, WIPED, bootable, every
from tests.support.disk_content import MIB, SHA, assert_boots_nothing, content, digest
from tests.support.loop import LoopDevice
from tests.support.packers import zst
from tests.support.plugin import PluginFailed

pytestmark = [
    pytest.mark.root, pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img (package qemu-utils)"),
]  # fmt: skip

CASES = {bad.name: bad for bad in every()}


@pytest.fixture(scope="module")
def image():
    return bootable()


def refused(call, serve, disk, published, habits, **request):
    server = serve(published)
    for key, value in habits.items():
        setattr(server, key, value)
    with pytest.raises(PluginFailed) as failed:
        call("image.write", device=disk, sources=server.url, **request)
    return failed.value


def assert_left(disk, before, expected, error):
    assert error.partial["disk"] == expected, error
    if expected == UNTOUCHED:
        assert content(disk) == before
        assert error.message.endswith(f"{disk} was not touched")
    else:
        assert_boots_nothing(disk)
        assert error.message.endswith(f"{disk} holds no image now, its first and last MiB are wiped")


@pytest.mark.parametrize("name", CASES)
def test_never_a_bad_disk(call, serve, loop_disk, image, name):
    bad, disk = CASES[name], loop_disk(DISK_MIB)
    published, before = bad.make(image), content(disk)
    if bad.habits.get("announce"):
        published = published[:-MIB]
    wanted = digest(published) if bad.digest else SHA
    error = refused(call, serve, disk, published, bad.habits, digest=wanted, format=bad.format, **bad.request)
    assert (error.code, bad.sentence in error.message) == (bad.code, True), error
    assert_left(disk, before, bad.disk, error)


@pytest.mark.parametrize("pack", [bytes, zst])
@pytest.mark.parametrize("made_for", [512, 4096])
def test_an_image_for_sectors_of_another_size(call, serve, loop_disk, disk_of_4k_sectors, pack, made_for):
    disk = disk_of_4k_sectors if made_for == 512 else loop_disk(DISK_MIB)
    published, before = pack(bootable(SHORT, made_for)), content(disk)
    form = "raw" if pack is bytes else "zst"
    error = refused(call, serve, disk, published, {}, digest=digest(published), format=form)
    assert (error.code, f"made for sectors of {made_for} bytes" in error.message) == ("sector_size", True)
    assert_left(disk, before, UNTOUCHED, error)


def test_a_disk_that_fails_in_the_middle(call, serve, tmp_path, image):
    """Its backing file lies on a file system that is full after 4 MiB; the ends are there, and full of garbage."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)], check=True)
    device = None
    try:
        backing = place / "disk"
        with backing.open("wb") as file:
            file.write(image[:MIB])
            file.truncate(SIZE - MIB)
            file.seek(SIZE - MIB)
            file.write(image[-MIB:])
        device = LoopDevice(backing)
        error = refused(call, serve, device.path, image, {}, digest=digest(image))
        assert (error.code, error.partial["disk"]) == ("write_failed", WIPED)
        assert backing.read_bytes()[:MIB] == backing.read_bytes()[-MIB:] == bytes(MIB)
    finally:
        if device:
            device.close()
        subprocess.run(["umount", str(place)], check=True)


def test_the_image_that_all_of_these_are_made_of_is_a_good_one(call, serve, loop_disk, image):
    disk = loop_disk(DISK_MIB)
    call("image.write", device=disk, sources=serve(image).url, digest=digest(image))
    assert content(disk) == image
