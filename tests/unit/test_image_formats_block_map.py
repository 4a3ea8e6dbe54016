import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent_router.image.formats import block_map
from agent_router.plugin import Failed, InvalidRequest

BLOCK = 4096


class Memory:
    """A sink: what was given, over garbage."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(b"\xaa" * size)
        self.size = 0

    def expect(self, size: int) -> None:
        self.size = size

    def write(self, offset: int, data: memoryview) -> None:
        self.content[offset : offset + len(data)] = data


def xml(image: bytes, ranges: list[tuple[int, int]], *, tamper: str = "", algorithm: str = "sha256") -> bytes:
    lines = ""
    for first, last in ranges:
        digest = hashlib.new(algorithm, image[first * BLOCK : (last + 1) * BLOCK]).hexdigest()
        span = str(first) if first == last else f"{first}-{last}"
        lines += f'<Range chksum="{digest}"> {span} </Range>\n'
    length = hashlib.new(algorithm).digest_size * 2
    text = (
        f'<?xml version="1.0" ?>\n<bmap version="2.0">\n<ImageSize> {len(image)} </ImageSize>\n'
        f"<BlockSize> {BLOCK} </BlockSize>\n<ChecksumType> {algorithm} </ChecksumType>\n"
        f"<BmapFileChecksum> {'0' * length} </BmapFileChecksum>\n<BlockMap>\n{lines}</BlockMap>\n</bmap>\n"
    ).encode()
    digest = hashlib.new(algorithm, text).hexdigest().encode()
    text = text.replace(b"0" * length, digest, 1)
    return text.replace(b"<BlockMap>", tamper.encode() + b"<BlockMap>") if tamper else text


@pytest.fixture
def image() -> bytes:
    data = bytearray(os.urandom(10 * BLOCK + 100))
    data[2 * BLOCK : 5 * BLOCK] = bytes(3 * BLOCK)
    return bytes(data)


NINE = b"<ImageSize>9</ImageSize><BlockSize>1</BlockSize>"
RANGES = [(0, 1), (5, 5), (7, 10)]


@pytest.mark.parametrize("step", [1000, BLOCK, 3 * BLOCK + 7, 1 << 20])
def test_only_what_is_mapped_reaches_the_sink(image: bytes, step: int) -> None:
    sink = Memory(len(image))
    mapped = block_map.BlockMapSink(block_map.parse(xml(image, RANGES), "x.bmap"), sink)
    for offset in range(0, len(image), step):
        mapped.write(offset, image[offset : offset + step])
    mapped.finish()
    assert sink.size == len(image)
    expected = bytearray(b"\xaa" * len(image))
    for first, last in RANGES:
        expected[first * BLOCK : (last + 1) * BLOCK] = image[first * BLOCK : (last + 1) * BLOCK]
    assert sink.content == expected


def test_a_wrong_range_is_found_when_it_ends(image: bytes) -> None:
    mapped = block_map.BlockMapSink(block_map.parse(xml(image, RANGES), "x.bmap"), Memory(len(image)))
    wrong = bytearray(image)
    wrong[5 * BLOCK + 9] ^= 1
    with pytest.raises(Failed, match=f"bytes {5 * BLOCK} to {6 * BLOCK} of the image are not") as caught:
        mapped.write(0, wrong)
    assert caught.value.code == "digest_mismatch"


def test_an_image_of_another_size_is_refused(image: bytes) -> None:
    made = block_map.parse(xml(image, RANGES), "x.bmap")
    short, long = block_map.BlockMapSink(made, Memory(len(image))), block_map.BlockMapSink(made, Memory(len(image)))
    short.write(0, image[:-1])
    with pytest.raises(Failed, match="bytes or more") as caught:
        short.finish()
    assert caught.value.code == "wrong_size"
    with pytest.raises(Failed, match="is for one of"):
        long.write(0, image + b"x")
    with pytest.raises(Failed):
        long.expect(len(image) + 1)


def test_a_map_does_not_go_with_an_image_that_comes_out_of_order(image: bytes) -> None:
    mapped = block_map.BlockMapSink(block_map.parse(xml(image, RANGES), "x.bmap"), Memory(len(image)))
    with pytest.raises(InvalidRequest, match="not with qcow2"):
        mapped.write(BLOCK, image[:BLOCK])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is not a block map"),
        (b"<bmap>", "no element found"),
        (b"<bmap></bmap>", "BlockSize is missing"),
        (b'<!DOCTYPE bmap [<!ENTITY a "a">]><bmap><ImageSize>&a;</ImageSize></bmap>', "declares entities"),
        (b"<bmap><ImageSize>x</ImageSize><BlockSize>1</BlockSize></bmap>", "invalid literal"),
        (b"<bmap><ImageSize>0</ImageSize><BlockSize>1</BlockSize></bmap>", "no sizes"),
        (b"<bmap>" + NINE + b"<ChecksumType>crc</ChecksumType></bmap>", "crc"),
        (b"<bmap>" + NINE + b"<BlockMap><Range>5</Range><Range>4</Range></BlockMap></bmap>", "in order"),
        (b"<bmap>" + NINE + b"<BlockMap><Range>50</Range></BlockMap></bmap>", "outside"),
    ],
)  # fmt: skip
def test_a_bad_map_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(Failed, match=why) as caught:
        block_map.parse(text, "x.bmap")
    assert caught.value.code == "bad_bmap"


def test_a_damaged_map_is_refused(image: bytes) -> None:
    with pytest.raises(Failed, match="its own checksum"):
        block_map.parse(xml(image, RANGES, tamper=" "), "x.bmap")


@pytest.mark.skipif(shutil.which("bmaptool") is None, reason="needs bmaptool (package bmap-tools)")
def test_reads_what_bmaptool_writes(tmp_path: Path, image: bytes) -> None:
    file = tmp_path / "disk"
    with file.open("wb") as out:
        out.write(image[: 2 * BLOCK])
        out.truncate(8 << 20)
        out.seek(6 << 20)
        out.write(b"end")
    made = subprocess.run(["bmaptool", "create", str(file)], capture_output=True, check=True).stdout
    found = block_map.parse(made, "disk.bmap")
    assert found.image_size == 8 << 20
    assert 2 * BLOCK < found.mapped < 1 << 20
    sink = Memory(8 << 20)
    mapped = block_map.BlockMapSink(found, sink)
    mapped.write(0, file.read_bytes())
    mapped.finish()
    assert sink.content[6 << 20 :][:3] == b"end"


def version_1_3(image: bytes, ranges: list[tuple[int, int]]) -> bytes:
    """As bmaptool wrote it before there was a choice of algorithms."""
    lines = ""
    for first, last in ranges:
        digest = hashlib.sha1(image[first * BLOCK : (last + 1) * BLOCK], usedforsecurity=False).hexdigest()
        lines += f'<Range sha1="{digest}"> {first}-{last} </Range>'
    text = (
        f'<?xml version="1.0" ?><bmap version="1.3"><ImageSize> {len(image)} </ImageSize><BlockSize>{BLOCK}</BlockSize>'
        f"<BmapFileSHA1> {'0' * 40} </BmapFileSHA1><BlockMap>{lines}</BlockMap></bmap>"
    ).encode()
    return text.replace(b"0" * 40, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


def test_version_1_3_with_its_sha1(image: bytes) -> None:
    found = block_map.parse(version_1_3(image, RANGES), "x.bmap")
    assert (found.algorithm, len(found.ranges)) == ("sha1", 3)
    mapped = block_map.BlockMapSink(found, Memory(len(image)))
    mapped.write(0, image)
    mapped.finish()
    with pytest.raises(Failed, match=r"are not those of x\.bmap"):
        block_map.BlockMapSink(found, Memory(len(image))).write(0, b"x" + image[1:])
    damaged = version_1_3(image, RANGES).replace(b"<BlockMap>", b"<BlockMap> ")
    with pytest.raises(Failed, match="its own checksum does not match"):
        block_map.parse(damaged, "x.bmap")


@pytest.mark.parametrize("version", ["1.0", "1.2"])
def test_versions_without_any_digest(image: bytes, version: str) -> None:
    text = f'<bmap version="{version}"><ImageSize>{len(image)}</ImageSize><BlockSize>{BLOCK}</BlockSize><BlockMap>'
    found = block_map.parse(f"{text}<Range>0-1</Range></BlockMap></bmap>".encode(), "x.bmap")
    assert found.ranges[0].digest == ""


def test_a_map_of_nothing_but_zeros(image: bytes) -> None:
    sink = Memory(len(image))
    mapped = block_map.BlockMapSink(block_map.parse(xml(image, []), "x.bmap"), sink)
    mapped.write(0, image)
    mapped.finish()
    assert (sink.size, sink.content.count(0xAA)) == (len(image), len(image))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_within_a_clear_signature(image: bytes, newline: bytes) -> None:
    head = newline.join([b"-----BEGIN PGP SIGNED MESSAGE-----", b"Hash: SHA512", b"", b""])
    signed = head + xml(image, RANGES) + b"-----BEGIN PGP SIGNATURE-----\n\niHUE\n-----END PGP SIGNATURE-----\n"
    assert len(block_map.parse(signed, "x.bmap").ranges) == 3
    with pytest.raises(Failed, match="signed block map that is cut off"):
        block_map.parse(signed[:400], "x.bmap")


@pytest.mark.parametrize(("text", "sentence"), [
    (b"<!DOCTYPE html><html>", "not a block map but an HTML page"), (b'{"a": 1}', "a JSON document"),
    (b"-----BEGIN PGP MESSAGE-----\n", "PEM or PGP armour: give the URL of the .bmap file"),
    (b"<?xml version='1.0'?><Error/>", "its root element is Error"), (b"\0" * 512, "is not a block map: give"),
    (b"<bmap version='3.0'></bmap>", "its version 3.0 is not known"), (b"", "is not a block map"),
])  # fmt: skip
def test_what_is_something_else(text: bytes, sentence: str) -> None:
    with pytest.raises(Failed, match=sentence) as failed:
        block_map.parse(text, "x.bmap")
    assert failed.value.code == "bad_bmap"
