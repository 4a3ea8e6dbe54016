import functools
import gzip
import lzma
import shutil
import subprocess

import pytest

from agent_router.image.formats import unpackers
from agent_router.image.formats.compressed import PIECE, Bz2, Gz, Xz, Zst
from agent_router.plugin import Failed, Incompatible
from tests.support.memory_image import Bytes, Memory, decode, disk, unpack

zstd = pytest.importorskip("backports.zstd")

DISK = disk(1536)
KINDS = {"gz": Gz, "xz": Xz, "zst": Zst, "bz2": Bz2}
ENGINES = ("gz by isal", "gz by zlib", "xz", "zst", "bz2")
TOOLS = [
    *((engine, tool) for engine in ENGINES[:2] for tool in ("gzip", "pigz -p2", "pigz -i")),
    ("xz", "xz -T2 --block-size=256KiB"), ("xz", "xz -0 --check=none"),
    ("zst", "zstd -T2"), ("zst", "zstd --long=27"), ("zst", "pzstd"), ("bz2", "bzip2"), ("bz2", "lbzip2"),
]  # fmt: skip


@functools.cache
def run(command: str, data: bytes) -> bytes:
    argv = command.split()
    if not shutil.which(argv[0]):
        pytest.skip(f"needs {argv[0]}")
    return subprocess.run([*argv, "-c"], input=data, capture_output=True, check=True).stdout


PACK = {"gz": "gzip", "xz": "xz -1", "zst": "zstd", "bz2": "bzip2"}


@pytest.fixture(params=ENGINES)
def kind(request, monkeypatch):
    """The format; gzip is unpacked by either library."""
    found, _, library = request.param.partition(" by ")
    if library == "zlib":
        monkeypatch.setattr(unpackers, "igzip_lib", None)
    elif library == "isal" and unpackers.igzip_lib is None:
        pytest.skip("needs isal")
    return found


@pytest.mark.parametrize(("kind", "command"), TOOLS, indirect=["kind"])
@pytest.mark.parametrize("piece", [1 << 20, 4093])
def test_unpacks_what_the_tools_make(kind, command, piece):
    assert unpack(KINDS[kind], run(command, DISK), piece) == DISK


def test_many_members_byte_by_byte(kind):
    parts = [b"\xeb" + DISK[:1500], DISK[-700:], b"x"]
    assert unpack(KINDS[kind], b"".join(run(PACK[kind], part) for part in parts), 1) == b"".join(parts)


@pytest.mark.parametrize("members", [1, 2])
def test_a_cut_anywhere_is_truncated(kind, members):
    packed = run(PACK[kind], DISK[-100000:])
    whole = packed * members
    for cut in (1, 2, 4, 7, len(packed) // 2, len(packed) - 1):
        with pytest.raises(Failed) as failed:
            unpack(KINDS[kind], whole[:-cut])
        assert failed.value.code == "truncated", cut


def test_a_flipped_bit_is_found(kind):
    packed = bytearray(run(PACK[kind], DISK[-100000:]))
    for place in (len(packed) // 2, len(packed) - (14 if kind == "xz" else 6)):
        packed[place] ^= 4
        with pytest.raises(Failed, match="damaged") as failed:
            unpack(KINDS[kind], bytes(packed))
        assert failed.value.code == "bad_image"
        packed[place] ^= 4


@pytest.mark.parametrize("tail", [b"garbage follows here", b"\n" * 600])
def test_nothing_may_follow(kind, tail):
    packed = run(PACK[kind], DISK[-3000:])
    for piece in (1 << 20, 512):
        with pytest.raises(Failed, match=f"what follows byte {len(packed)} is not {kind}") as failed:
            unpack(KINDS[kind], packed + tail, piece)
        assert failed.value.code == "bad_image"


@pytest.mark.parametrize(("kind", "zeros", "allowed"), [
    ("gz", 512, True), ("gz", 3, True), ("xz", 4, True), ("xz", 3, False), ("zst", 4, False), ("bz2", 1, False),
])  # fmt: skip
def test_padding_as_each_format_has_it(kind, zeros, allowed):
    packed = run(PACK[kind], DISK[:5000]) + bytes(zeros)
    for whole, image in ((packed, DISK[:5000]), (packed + packed, DISK[:5000] * 2)):
        for piece in (1 << 20, 100):
            if allowed:
                assert unpack(KINDS[kind], whole, piece) == image
            else:
                with pytest.raises(Failed, match=f"{zeros} bytes of zeros"):
                    unpack(KINDS[kind], whole, piece)


def test_a_bomb_comes_in_small_pieces_and_ends_at_the_end_of_the_disk(kind):
    bomb = run(PACK[kind], bytes(40 << 20))
    sink = Memory(limit=20 << 20)
    with pytest.raises(Failed) as failed:
        decode(KINDS[kind](sink), Bytes(bomb))
    assert failed.value.code == "too_large"
    assert max(sink.pieces, default=0) <= PIECE + 1024


def test_what_comes_out_is_looked_at_before_it_is_written(kind):
    sink = Memory()
    head = b"QFI\xfb" + bytes(5000)
    with pytest.raises(Failed, match="unpacked, is a qcow2 image") as failed:
        # In members of one byte too: enough of them is waited for.
        decode(KINDS[kind](sink), Bytes(run(PACK[kind], head[:1]) + run(PACK[kind], head[1:])))
    assert failed.value.code == "wrong_format"
    assert not sink.pieces


def test_nothing_packed_is_no_image(kind):
    with pytest.raises(Failed, match="unpacked, is empty") as failed:
        unpack(KINDS[kind], run(PACK[kind], b""))
    assert failed.value.code == "empty"


def test_another_format_is_refused(kind):
    with pytest.raises(Failed) as failed:
        unpack(KINDS[kind], DISK)
    assert failed.value.code == "wrong_format"


def test_a_small_image_is_given_whole():
    assert unpack(Gz, gzip.compress(b"\0tiny")) == b"\0tiny"


def test_xz_that_needs_too_much_memory_is_refused():
    large = {"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20, "preset": 0, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}
    packed = lzma.compress(bytes(1000), filters=[large])
    with pytest.raises(Failed, match="xz -9 or less") as failed:
        unpack(Xz, packed)
    assert failed.value.code == "unsafe_image"


def test_the_size_in_a_zstd_frame_is_told_before_anything_is_written():
    sink = Memory(limit=1 << 20)
    with pytest.raises(Failed) as failed:
        decode(Zst(sink), Bytes(zstd.compress(DISK)))
    assert failed.value.code == "too_large"
    assert not sink.pieces


def test_zstd_with_a_large_window_is_refused():
    options = {zstd.CompressionParameter.window_log: 28, zstd.CompressionParameter.compression_level: 1}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(DISK) + packer.flush(zstd.ZstdCompressor.FLUSH_FRAME)
    with pytest.raises(Failed, match="--long=27 or less") as failed:
        unpack(Zst, packed)
    assert failed.value.code == "unsafe_image"


def test_zstd_with_a_dictionary_is_refused():
    words = zstd.train_dict([b"word %d of many" % number * 20 for number in range(3000)], 2000)
    with pytest.raises(Failed, match="dictionary") as failed:
        unpack(Zst, zstd.compress(b"word 7 of many" * 50, zstd_dict=words))
    assert failed.value.code == "unsafe_image"


def test_zstd_skips_skippable_frames():
    skipped = b"\x5e\x2a\x4d\x18" + (70000).to_bytes(4, "little") + bytes(70000)
    packed = skipped + zstd.compress(DISK[:90000]) + skipped + zstd.compress(DISK[90000:]) + skipped
    assert unpack(Zst, packed) == unpack(Zst, packed, 1000) == DISK


def test_without_a_zstd_module_the_cure_is_named(monkeypatch):
    monkeypatch.setattr(unpackers.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    unpackers.zstd_module.cache_clear()
    try:
        with pytest.raises(Incompatible, match=r"install the Python package backports\.zstd") as failed:
            unpack(Zst, b"\x28\xb5\x2f\xfd")
        assert failed.value.code == "tool_missing"
        assert unpack(Gz, gzip.compress(DISK)) == DISK
    finally:
        unpackers.zstd_module.cache_clear()
