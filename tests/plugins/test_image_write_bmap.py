"""Block maps, of bmaptool and of agent-router seed: what is not mapped is zeros, what is mapped is what it must be."""

import os
import subprocess
import sys

import pytest

from tests.support.disk_content import MIB, SHA, assert_boots_nothing, content, digest, noise
from tests.support.plugin import REPO, PluginFailed
from tests.support.trees import PACK

pytestmark = pytest.mark.root


@pytest.fixture
def file(tmp_path):
    """A sparse image: data at the start, in the middle, and up to its end, which is in the middle of a block."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as out:
        out.write(noise(MIB + 4096))
        out.seek(4 * MIB)
        out.write(os.urandom(2 * MIB))
        out.truncate(9 * MIB)
        out.seek(9 * MIB + 8192)
        out.write(os.urandom(1024))
    return path


def by_bmaptool(file):
    argv = ["bmaptool", "create", str(file)]
    return subprocess.run(argv, capture_output=True, check=True).stdout


def by_seed(file):
    argv = [sys.executable, "-m", "agent_router", "seed", "--only-make", "--advertise", "http://127.0.0.1:1/",
            "-o", str(file.parent / "side"), str(file)]  # fmt: skip
    subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, check=True)
    return (file.parent / "side/disk.raw.bmap").read_bytes()


@pytest.mark.parametrize("make", [by_bmaptool, by_seed])
@pytest.mark.parametrize("form", ["raw", "zst"])
@pytest.mark.parametrize("zero", ["auto", "none"])
def test_what_is_not_mapped_is_zeros(call, serve, file, disk, make, form, zero):
    image, plan = file.read_bytes(), make(file)
    assert plan.count(b"<Range") == 3
    data = PACK["tar.zst"](image) if form == "zst" else image
    rest = content(disk)[len(image) : -MIB]
    answer = call(
        "image.write",
        device=disk,
        sources=serve(data).url,
        digest=digest(data),
        format=form,
        zero=zero,
        bmap=serve(plan).url,
    )
    after = content(disk)
    assert after[: len(image)] == image
    assert after[len(image) : -MIB] == rest
    assert (answer["bytes_written"], answer["bytes_zeroed"] > 4 * MIB) == (len(image), True)


def test_garbage_in_an_unmapped_range_of_the_image_is_not_written(call, serve, file, disk):
    """What a map leaves out may be anything in the image; it is zeros on the disk."""
    plan, image = by_bmaptool(file), bytearray(file.read_bytes())
    image[2 * MIB : 3 * MIB] = os.urandom(MIB)
    call("image.write", device=disk, sources=serve(bytes(image)).url, digest=digest(image), bmap=serve(plan).url)
    assert content(disk)[: len(image)] == file.read_bytes()


def test_a_range_with_another_digest_ends_it_before_the_image_is_over(call, serve, file, disk):
    plan, image = by_bmaptool(file), bytearray(file.read_bytes())
    image[4 * MIB + 5] ^= 1
    server = serve(bytes(image))
    server.pause_s = 0.01
    with pytest.raises(PluginFailed, match=r"bytes 4194304 to 6291456 of the image are not those of") as failed:
        call("image.write", device=disk, sources=server.url, digest=digest(image), bmap=serve(plan).url)
    assert (failed.value.code, failed.value.partial["disk"]) == ("digest_mismatch", "wiped")
    assert_boots_nothing(disk)


@pytest.mark.parametrize(("spoil", "sentence"), [
    (lambda plan: plan.replace(b" 1024-1535 ", b" 1024-1534 "), "its own checksum does not match: it is damaged"),
    (lambda plan: plan[:500], "not a usable block map"),
    (lambda plan: b"<html>404</html>", "not a block map but an HTML page"),
    (lambda plan: plan.replace(b"<bmap", b'<!DOCTYPE x [<!ENTITY a "b">]><bmap', 1), "it declares entities"),
])  # fmt: skip
def test_a_map_that_is_none_is_refused_before_the_image_is_asked_for(call, serve, file, disk, spoil, sentence):
    plan, server, before = by_bmaptool(file), serve(file.read_bytes()), content(disk)
    assert spoil(plan) != plan
    with pytest.raises(PluginFailed, match=sentence) as failed:
        call("image.write", device=disk, sources=server.url, digest=SHA, bmap=serve(spoil(plan)).url)
    assert (failed.value.code, content(disk), server.requests) == ("bad_bmap", before, [])


@pytest.mark.parametrize("form", ["raw", "zst"])
@pytest.mark.parametrize("change", [4096, -4096])
def test_the_map_of_an_image_of_another_size(call, serve, file, disk, form, change):
    plan, before = by_bmaptool(file), content(disk)
    os.truncate(file, file.stat().st_size + change)
    data = PACK["tar.zst"](file.read_bytes()) if form == "zst" else file.read_bytes()
    with pytest.raises(PluginFailed, match=r"is for one of 9446400 bytes; .* was not touched") as failed:
        call(
            "image.write", device=disk, sources=serve(data).url, digest=digest(data), format=form, bmap=serve(plan).url
        )
    assert failed.value.code == "wrong_size"
    assert content(disk) == before, "the size is known before the first byte"


def test_the_map_of_another_image_of_that_size(call, serve, file, disk):
    plan, image = by_bmaptool(file), os.urandom(file.stat().st_size)
    with pytest.raises(PluginFailed, match="bytes 0 to 1052672 of the image are not those of") as failed:
        call("image.write", device=disk, sources=serve(image).url, digest=digest(image), bmap=serve(plan).url)
    assert failed.value.code == "digest_mismatch"
    assert_boots_nothing(disk)


def test_a_map_does_not_go_with_qcow2(call, serve, disk):
    server, before = serve(b"QFI\xfb"), content(disk)
    with pytest.raises(PluginFailed, match="not with qcow2: leave bmap out") as failed:
        call("image.write", device=disk, sources=server.url, format="qcow2", digest=SHA, bmap=server.url)
    assert (failed.value.code, failed.value.exit_status) == ("bad_bmap", 64)
    assert (content(disk), server.requests) == (before, [])
