import os
import shutil
import struct
import subprocess
import sys
import zlib

import pytest

from agent_router.image.formats import unpackers
from agent_router.image.formats.qcow2 import tables
from agent_router.image.formats.qcow2.decoder import Qcow2
from agent_router.image.protocols import InOrderOnly
from agent_router.plugin import Failed
from tests.support.memory_image import Bytes, Memory, decode, disk, qcow2, unpack

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")

DISK = disk(2048)
OPTIONS = [
    "", "-o compat=0.10", "-c", "-c -o compat=0.10", "-c -o compression_type=zstd", "-c -W -m 8", "-W -m 8", "-S 0",
    "-o lazy_refcounts=on", "-o preallocation=metadata", "-o preallocation=full", "-o preallocation=falloc",
    *(f"{c} -o cluster_size={size}" for c in ("", "-c") for size in ("512", "4k", "2M")),
    "-c -o cluster_size=2M,compression_type=zstd", "-c -o cluster_size=512,compression_type=zstd",
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_reads_what_qemu_img_writes(tmp_path, options):
    image = qcow2(tmp_path, DISK, *options.split())
    for piece in (1 << 20, 65537, 997):
        assert unpack(Qcow2, image, piece) == DISK


def test_reads_deflate_without_isal(tmp_path, monkeypatch):
    monkeypatch.setattr(unpackers, "igzip_lib", None)
    assert unpack(Qcow2, qcow2(tmp_path, DISK, "-c")) == DISK


def test_reads_an_image_that_was_in_use(tmp_path):
    """Written here and there, trimmed and grown: clusters in no order, of zeros, and of both kinds."""
    file = tmp_path / "disk.qcow2"
    qcow2(tmp_path, DISK, "-c", "-o", "cluster_size=4k")
    orders = [f"write -P {n} {n * 37 % 2000}k 6k" for n in range(1, 90)]
    orders += ["discard 1M 100k", "write -z 64k 64k", "write -z -u 300k 40k", "truncate 3M", "write 2900k 3k"]
    argv = ["qemu-io", *(word for order in orders for word in ("-c", order)), str(file)]
    subprocess.run(argv, check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(file), str(tmp_path / "now.raw")], check=True)
    for piece in (1 << 20, 4099):
        assert unpack(Qcow2, file.read_bytes(), piece) == (tmp_path / "now.raw").read_bytes()


def test_clusters_that_are_shared_or_out_of_order(tmp_path):
    image = bytearray(qcow2(tmp_path, bytes(65536) + disk(256), "-o", "cluster_size=4k"))
    l1 = struct.unpack_from(">Q", image, 40)[0]
    l2 = struct.unpack_from(">Q", image, l1)[0] & 0x00FF_FFFF_FFFF_FE00
    entries = list(struct.unpack_from(">64Q", image, l2))
    entries[:64] = [entries[30], *reversed(entries[16:48]), *entries[16:47]]
    struct.pack_into(">64Q", image, l2, *entries)
    (tmp_path / "mixed.qcow2").write_bytes(image)
    subprocess.run(["qemu-img", "convert", "-O", "raw", "mixed.qcow2", "mixed.raw"], cwd=tmp_path, check=True)
    for piece in (1 << 20, 5000, 512):
        assert unpack(Qcow2, bytes(image), piece) == (tmp_path / "mixed.raw").read_bytes()


@pytest.mark.parametrize("options", ["-o cluster_size=4k", "-c -o cluster_size=4k"])
def test_what_lies_behind_the_end_of_the_disk_is_not_of_it(tmp_path, options):
    image = bytearray(qcow2(tmp_path, DISK, *options.split()))
    struct.pack_into(">Q", image, 24, 300 * 1024 + 512)
    assert unpack(Qcow2, bytes(image)) == DISK[: 300 * 1024 + 512]


def test_clusters_that_overlap_are_read_as_qemu_reads_them(tmp_path):
    """A compressed cluster that claims more sectors than it needs, and another cluster in these."""
    image = bytearray(qcow2(tmp_path, b"x" * 65536, "-o", "cluster_size=4k"))
    packer = zlib.compressobj(wbits=-12)
    packed = packer.compress(b"y" * 4096) + packer.flush()
    l1 = struct.unpack_from(">Q", image, 40)[0]
    l2 = struct.unpack_from(">Q", image, l1)[0] & 0x00FF_FFFF_FFFF_FE00
    end = len(image)
    struct.pack_into(">2Q", image, l2, 1 << 62 | 15 << 58 | end, end + 4096)
    (tmp_path / "mixed.qcow2").write_bytes(image + packed.ljust(4096, b"\0") + disk(16)[:4096])
    subprocess.run(["qemu-img", "convert", "-O", "raw", "mixed.qcow2", "mixed.raw"], cwd=tmp_path, check=True)
    for piece in (1 << 20, end + 6000, end + 4096 + 100, 512):
        assert unpack(Qcow2, (tmp_path / "mixed.qcow2").read_bytes(), piece) == (tmp_path / "mixed.raw").read_bytes()


def test_holes_are_never_given_and_neighbours_come_in_one_piece(tmp_path):
    noise = disk(2048).replace(bytes(65536), b"x" * 65536)
    sink = Memory()
    decode(Qcow2(sink), Bytes(qcow2(tmp_path, noise[: 1 << 20] + bytes(8 << 20))))
    assert sum(sink.pieces) <= 1 << 20
    assert len(sink.pieces) <= 4
    assert sink.size == 9 << 20


def test_tables_are_fetched_in_few_requests(tmp_path):
    source = Bytes(qcow2(tmp_path, bytes(16 << 20), "-o", "cluster_size=4k,preallocation=metadata"))
    decode(Qcow2(Memory()), source)
    assert len(source.asked) <= 12
    assert max(length for _, length in source.asked) <= tables.REQUEST


@pytest.mark.parametrize("lacking", [{"ranges": False}, {"announced": False}])
def test_a_server_without_ranges_is_told_from_a_bad_image(tmp_path, lacking):
    with pytest.raises(InOrderOnly):
        Qcow2(Memory()).begin(Bytes(qcow2(tmp_path, DISK), **lacking))


def test_an_image_larger_than_the_disk_is_refused_before_its_tables_are_read(tmp_path):
    source, sink = Bytes(qcow2(tmp_path, DISK)), Memory(limit=1 << 20)
    with pytest.raises(Failed) as failed:
        Qcow2(sink).begin(source)
    assert failed.value.code == "too_large"
    assert len(source.asked) == 1


@pytest.mark.parametrize("kind", ["header", "L1", "L2"])
def test_an_image_replaced_while_it_is_read_is_found(tmp_path, kind):
    image = qcow2(tmp_path, DISK)
    l1 = struct.unpack_from(">Q", image, 40)[0]
    l2 = struct.unpack_from(">Q", image, l1)[0] & 0x00FF_FFFF_FFFF_FE00
    at = {"header": 100, "L1": l1 + 5, "L2": l2 + 4005}[kind]
    source, sink = Bytes(image), Memory()
    decoder = Qcow2(sink)
    decoder.begin(source)
    with pytest.raises(Failed, match="replaced while it was read") as failed:
        decoder.feed(memoryview(image[:at] + b"\x77" + image[at + 1 :]))
    assert failed.value.code == "bad_image"


def test_a_stream_that_ends_early_is_truncated(tmp_path):
    image = qcow2(tmp_path, DISK)
    for cut in (70000, len(image) // 2):
        decoder = Qcow2(Memory())
        decoder.begin(Bytes(image))
        decoder.feed(memoryview(image[:-cut]))
        with pytest.raises(Failed) as failed:
            decoder.finish()
        assert failed.value.code == "truncated"


def test_an_image_that_was_not_closed_is_read_with_a_warning(tmp_path, monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr("agent_router.image.formats.qcow2.decoder.plugin.warn", warned.append)
    image = bytearray(qcow2(tmp_path, DISK))
    image[79] |= 1
    assert unpack(Qcow2, bytes(image)) == DISK
    assert "was not closed" in warned[0]


LARGE = r"""
import pathlib, re, sys
from tests.support.memory_image import Bytes, Memory
from agent_router.image.formats.qcow2.decoder import Qcow2

class File(Bytes):
    def read_at(self, offset, length):
        with open(sys.argv[1], "rb") as file:
            file.seek(offset)
            return file.read(length)

source, decoder = File(b""), Qcow2(Memory(limit=sys.maxsize))
source.size = int(sys.argv[2])

def peak_kib():
    # Not ru_maxrss, which begins with that of the parent.
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1])

before = peak_kib()
decoder.begin(source)
runs = sum(1 for _ in decoder._runs)
print(runs, peak_kib() - before)
"""


def test_the_tables_of_50_gib_take_little_memory(tmp_path):
    file = tmp_path / "large.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", str(file), "50G"]
    subprocess.run(argv, check=True)  # tables of 6.25 MiB, all entries in use
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-c", LARGE, str(file), str(file.stat().st_size)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=paths)
    runs, grown_kib = map(int, done.stdout.split())
    assert runs > 100
    assert grown_kib < 5 << 10


def test_tables_that_need_too_much_memory_are_refused(tmp_path, monkeypatch):
    image = qcow2(tmp_path, disk(4096), "-o", "cluster_size=512")
    monkeypatch.setattr(tables, "TABLES_LIMIT", 8 << 10)
    with pytest.raises(Failed, match="make larger clusters") as failed:
        unpack(Qcow2, image)
    assert failed.value.code == "unsafe_image"
    monkeypatch.undo()
    monkeypatch.setattr(tables, "MOST_TABLES", 8)
    with pytest.raises(Failed, match="make them larger") as failed:
        unpack(Qcow2, image)
    assert failed.value.code == "unsafe_image"
