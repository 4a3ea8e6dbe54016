"""Zeros on a disk full of garbage: whatever way they come there, they are there."""

import gzip
import os
import subprocess

import pytest

from tests.support.disk_content import MIB, content, digest
from tests.support.plugin import PluginFailed

GRAIN = 64 << 10


@pytest.fixture
def image():
    # Holes of grains, of single sectors, at the start, at the end, and across the held ends.
    part = os.urandom(3 * GRAIN) + bytes(5 * GRAIN) + os.urandom(512) + bytes(GRAIN) + os.urandom(GRAIN - 512)
    return bytes(GRAIN) + part * 9 + bytes(3 * MIB) + os.urandom(MIB) + bytes(2 * MIB + 12800)


@pytest.mark.root
@pytest.mark.parametrize("mode", ["auto", "discard", "zeroout", "none"])
@pytest.mark.parametrize("form", ["raw", "gz"])
def test_every_way_to_make_zeros(call, serve, image, disk, mode, form):
    published = image if form == "raw" else gzip.compress(image)
    rest = content(disk)[len(image) : -MIB]
    answer = call(
        "image.write", device=disk, sources=serve(published).url, digest=digest(published), format=form, zero=mode
    )
    data = content(disk)
    assert data[: len(image)] == image
    assert (answer["bytes_read"], answer["bytes_written"]) == (len(published), len(image))
    assert (answer["bytes_zeroed"] > 5 * MIB) == (mode != "none")
    if mode != "discard":
        assert data[len(image) : -MIB] == rest, "what the image does not cover is left as it is"


@pytest.mark.root
def test_an_image_of_nothing_but_zeros_as_large_as_the_disk(call, serve, disk):
    published = gzip.compress(bytes(16 * MIB))
    call("image.write", device=disk, sources=serve(published).url, digest=digest(published), format="gz")
    assert content(disk) == bytes(16 * MIB)


@pytest.mark.root
def test_a_compressed_image_that_unpacks_to_more_than_the_disk(call, serve, disk):
    published = gzip.compress(os.urandom(GRAIN) + bytes(64 * MIB))
    with pytest.raises(PluginFailed, match="the image is larger") as failed:
        call("image.write", device=disk, sources=serve(published).url, digest=digest(published), format="gz")
    assert (failed.value.code, failed.value.partial["disk"]) == ("too_large", "wiped")
    assert content(disk)[:MIB] == content(disk)[-MIB:] == bytes(MIB)


@pytest.mark.root
def test_sectors_of_4096_bytes(call, serve, image, disk_of_4k_sectors):
    call("image.write", device=disk_of_4k_sectors, sources=serve(image).url, digest=digest(image))
    assert content(disk_of_4k_sectors)[: len(image)] == image


@pytest.mark.root
def test_a_sparse_qcow2_leaves_no_garbage_in_its_holes(call, serve, image, disk, tmp_path):
    raw, packed = tmp_path / "raw", tmp_path / "qcow2"
    raw.write_bytes(image + bytes(-len(image) % 512))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(packed)], check=True)
    published = packed.read_bytes()
    call("image.write", device=disk, sources=serve(published).url, digest=digest(published), format="qcow2")
    assert content(disk)[: len(image)] == image
