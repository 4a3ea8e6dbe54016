"""Images that are damaged or made to harm. Each is refused with a reason, or is what QEMU makes of it."""

import random
import shutil
import struct
import subprocess
import zlib

import pytest

from agent_router.image.formats.qcow2.decoder import Qcow2
from agent_router.plugin import Failed
from tests.support.memory_image import disk, qcow2, unpack

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")

CLUSTER = 4096
OFFSET = 0x00FF_FFFF_FFFF_FE00
DISK = disk(240)
COMPRESSED = 1 << 62


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small image of version 3 with clusters of 4 KiB, by qemu-img."""
    image = qcow2(tmp_path_factory.mktemp("qcow2"), DISK, "-o", f"cluster_size={CLUSTER}")
    assert unpack(Qcow2, image) == DISK
    return image


def l2_table(image: bytes) -> int:
    return struct.unpack_from(">Q", image, struct.unpack_from(">Q", image, 40)[0])[0] & OFFSET


def used(image: bytes) -> int:
    """The place of the first L2 entry in use."""
    at = l2_table(image)
    return next(at + 8 * n for n in range(CLUSTER // 8) if struct.unpack_from(">Q", image, at + 8 * n)[0] & OFFSET)


HEADER = [
    (4, ">I", 1, "bad_image", "version is 1"), (4, ">I", 4, "bad_image", "version is 4"),
    (8, ">Q", 600, "unsafe_image", "backing file"), (16, ">I", 9, "unsafe_image", "backing file"),
    (20, ">I", 8, "bad_image", "2^8 bytes"), (20, ">I", 22, "bad_image", "2^22 bytes"),
    (20, ">I", 0xFFFFFFFF, "bad_image", "clusters have"), (24, ">Q", 1 << 40, "bad_image", "L1 table of 1 entries"),
    (24, ">Q", (1 << 64) - 512, "bad_image", "L1 table of 1 entries"), (24, ">Q", 5, "bad_image", "multiple of 512"),
    (32, ">I", 1, "unsafe_image", "AES"), (32, ">I", 2, "unsafe_image", "LUKS"),
    (32, ">I", 3, "unsafe_image", "encrypted"),
    (36, ">I", 0, "bad_image", "L1 table of 0 entries"), (36, ">I", 1 << 31, "bad_image", "L1 table of"),
    (40, ">Q", 1 << 50, "truncated", "cut off"), (40, ">Q", 1000, "bad_image", "at byte 1000"),
    (40, ">Q", 0, "bad_image", "at byte 0"), (60, ">I", 1, "unsafe_image", "internal snapshots"),
    (72, ">Q", 2, "bad_image", "marked as corrupt"), (72, ">Q", 4, "unsafe_image", "data in another file"),
    (72, ">Q", 16, "unsafe_image", "extended L2"), (72, ">Q", 1 << 40, "unsafe_image", "0x10000000000"),
    (72, ">Q", 8, "bad_image", "contradicts itself"), (104, ">B", 1, "bad_image", "contradicts itself"),
    (104, ">B", 2, "unsafe_image", "an unknown method"), (96, ">I", 7, "bad_image", "contradict one another"),
    (100, ">I", 72, "bad_image", "contradict one another"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "kind", "value", "code", "reason"), HEADER)
def test_headers(sound, place, kind, value, code, reason):
    image = bytearray(sound)
    struct.pack_into(kind, image, place, value)
    refused(image, code, reason)


ENTRIES = [
    (CLUSTER * 3 + 512, "bad_image", "begins at byte 12800"), (1 << 50, "truncated", "cut off"),
    (COMPRESSED | 1 << 48, "truncated", "cut off"), (COMPRESSED | 8192 * 512, "truncated", "cut off"),
    (COMPRESSED, "bad_image", "lies in its tables"), (COMPRESSED | 100, "bad_image", "lies in its tables"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "code", "reason"), ENTRIES)
def test_entries_of_the_l2_table(sound, entry, code, reason):
    image = bytearray(sound)
    struct.pack_into(">Q", image, used(image), entry)
    refused(image, code, reason)


def test_data_in_the_l2_table_itself(sound):
    image = bytearray(sound)
    struct.pack_into(">Q", image, used(image), l2_table(image))
    refused(image, "bad_image", "lies in its tables")


@pytest.mark.parametrize(("entry", "code", "reason"), [
    (CLUSTER * 3, "bad_image", "overlap"), (1 << 50, "truncated", "cut off"), (513 << 9, "bad_image", "misplaced"),
])  # fmt: skip
def test_entries_of_the_l1_table(sound, entry, code, reason):
    image = bytearray(sound)
    struct.pack_into(">Q", image, struct.unpack_from(">Q", sound, 40)[0], entry)
    refused(image, code, reason)


def test_one_l2_table_for_two_parts_of_the_disk(tmp_path):
    image = bytearray(qcow2(tmp_path, disk(240), "-o", "cluster_size=512"))
    l1 = struct.unpack_from(">Q", image, 40)[0]
    struct.pack_into(">Q", image, l1 + 8, struct.unpack_from(">Q", image, l1)[0])
    refused(image, "bad_image", "misplaced")


def test_clusters_of_zeros_in_version_2(tmp_path):
    image = bytearray(qcow2(tmp_path, DISK, "-o", f"cluster_size={CLUSTER},compat=0.10"))
    image[used(image) + 7] |= 1
    refused(image, "bad_image", "version 2 does not know")


@pytest.mark.parametrize(("size", "reason"), [
    (CLUSTER - 1, "has 4095 bytes"), (CLUSTER + 1, "more"), (0, "has 0 bytes"),
])  # fmt: skip
def test_compressed_clusters_of_another_size(sound, size, reason):
    packer = zlib.compressobj(wbits=-12)
    packed = packer.compress(bytes(size)) + packer.flush()
    image = bytearray(sound) + packed.ljust(512, b"\0")
    struct.pack_into(">Q", image, used(sound), COMPRESSED | len(sound))
    refused(image, "bad_image", reason)


def test_a_compressed_cluster_that_is_a_bomb(tmp_path):
    image = bytearray(qcow2(tmp_path, b"\x11" * (4 << 20), "-c", "-o", "cluster_size=2M"))
    packer = zlib.compressobj(wbits=-12)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    at = l2_table(image)
    struct.pack_into(">Q", image, at, COMPRESSED | (len(bomb) // 512) << (62 - 13) | len(image))
    refused(image + bomb + bytes(512), "bad_image", "more")


@pytest.mark.parametrize(("command", "reason"), [
    ("create -f qcow2 -F raw -b disk.raw disk.qcow2", "backing file"), ("snapshot -c one disk.qcow2", "snapshots (1)"),
    ("create -f qcow2 -o data_file=d disk.qcow2 1M", "another file"),
    ("create -f qcow2 -o extended_l2=on disk.qcow2 1M", "subclusters"),
    ("create -f qcow2 --object secret,id=s,data=x -o encrypt.format=aes,encrypt.key-secret=s disk.qcow2 1M", "(AES)"),
])  # fmt: skip
def test_what_qemu_img_can_make_and_is_not_read(tmp_path, command, reason):
    qcow2(tmp_path, DISK)
    subprocess.run(["qemu-img", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    refused((tmp_path / "disk.qcow2").read_bytes(), "unsafe_image", reason)


def refused(image: bytes, code: str, reason: str) -> None:
    with pytest.raises(Failed) as failed:
        unpack(Qcow2, bytes(image))
    assert failed.value.code == code, failed.value
    assert reason in str(failed.value)


BASES = [
    f"-o cluster_size={CLUSTER}", f"-c -o cluster_size={CLUSTER}",
    f"-c -o cluster_size={CLUSTER},compression_type=zstd",
    "-o cluster_size=512,compat=0.10", "-c",
]  # fmt: skip
KNOWN = {"bad_image", "unsafe_image", "truncated", "wrong_format", "too_large"}


def test_300_mutations_are_refused_or_read_as_qemu_reads_them(tmp_path):
    dice = random.Random(5)
    bases = [qcow2(tmp_path, DISK, *options.split()) for options in BASES]
    alike = refusals = 0
    for number in range(300):
        image = mutated(dice, dice.choice(bases))
        sink_image = None
        try:
            sink_image = unpack(Qcow2, image, dice.choice((1 << 20, 5000, 999)), limit=4 << 20)
        except Failed as error:
            assert error.code in KNOWN, (number, error)
            refusals += 1
        if sink_image is not None and (expected := by_qemu(tmp_path, image)) is not None:
            assert sink_image == expected, number
            alike += 1
    assert alike > 60
    assert refusals > 60


def mutated(dice: random.Random, base: bytes) -> bytes:
    image = bytearray(base)
    tables = [struct.unpack_from(">Q", base, 40)[0], l2_table(base), l2_table(base)]
    for _ in range(dice.choice((1, 1, 1, 3))):
        kind = dice.choice(("header", "table", "table", "entry", "data", "cut", "longer"))
        word = dice.choice(tables) + 8 * dice.randrange(64)
        if kind == "cut":
            return bytes(image[: dice.randrange(len(image))])
        if kind == "longer":
            image += bytes(dice.randrange(5000))
        elif kind == "entry":
            place = dice.randrange(len(base))
            plain = place & ~(CLUSTER - 1)
            entry = dice.choice((0, 1, (1 << 64) - 1, plain, plain | 1 << 63, COMPRESSED | place))
            struct.pack_into(">Q", image, word, entry)
        else:
            places = {"header": range(112), "table": range(word, word + 8), "data": range(len(base))}
            image[dice.choice(places[kind])] ^= 1 << dice.randrange(8)
    return bytes(image)


def by_qemu(folder, image: bytes) -> bytes | None:
    """What qemu-img reads; None if it refuses."""
    (folder / "mutated.qcow2").write_bytes(image)
    argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", "mutated.qcow2", "mutated.raw"]
    done = subprocess.run(argv, cwd=folder, check=False, capture_output=True)
    return (folder / "mutated.raw").read_bytes() if done.returncode == 0 else None
