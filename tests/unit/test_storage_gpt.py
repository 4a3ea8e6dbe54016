import struct
import subprocess
import zlib

import pytest

from agent_router.plugin import Failed
from agent_router.storage import gpt
from tests.support.disks import MIB, partitions, table_of


def made(path, made_for_mib, *lines, cut_mib=None):
    """An image with a GPT for a disk of that size, cut behind its last partition if asked for."""
    path.write_bytes(bytes(made_for_mib * MIB))
    partitions(path, *(lines or ("start=2048, size=3MiB, name=root",)))
    return bytearray(path.read_bytes()[: (cut_mib or made_for_mib) * MIB])


def fitted(tmp_path, image, disk_mib, sector=512):
    """What is on a disk of that size after the image and the correction; garbage where nothing was written."""
    disk = bytearray(b"\xa5" * disk_mib * MIB)
    disk[: len(image)] = image
    found = gpt.fit(lambda offset, length: bytes(disk[offset : offset + length]), len(disk), sector)
    for offset, data in found.writes if found else []:
        disk[offset : offset + len(data)] = data
    path = tmp_path / "fitted"
    path.write_bytes(disk)
    return found, path


@pytest.mark.parametrize(("made_for", "cut", "disk"), [(8, None, 8), (8, None, 32), (64, 5, 16), (8, 5, 6)])
def test_is_sound_on_a_disk_of_any_size(tmp_path, made_for, cut, disk):
    found, path = fitted(tmp_path, made(tmp_path / "image", made_for, cut_mib=cut), disk)
    assert (found.made_for, found.partitions_end) == (made_for * MIB, 4 * MIB)
    said = subprocess.run(["sgdisk", "--verify", path], capture_output=True, text=True, check=True).stdout
    assert "No problems found" in said
    table = table_of(str(path))
    assert (table["label"], table["lastlba"]) == ("gpt", disk * 2048 - 34)
    assert [(one["start"], one["size"], one["name"]) for one in table["partitions"]] == [(2048, 6144, "root")]


def test_partitions_beyond_the_end_of_the_disk_are_refused(tmp_path):
    image = made(tmp_path / "image", 64, "start=2048, size=3MiB", "size=20MiB", cut_mib=6)
    with pytest.raises(Failed, match=f"partition 2 ends at byte {24 * MIB}.*, of {64 * MIB} bytes") as failed:
        fitted(tmp_path, image, 16)
    assert failed.value.code == "bad_partition_table"


@pytest.mark.parametrize(("at", "said"), [(512, "is not there"), (600, "its GPT is damaged"), (1024, "entries")])
def test_a_damaged_one_is_refused_whatever_its_backup_says(tmp_path, at, said):
    image = made(tmp_path / "image", 8)
    image[at] ^= 1
    with pytest.raises(Failed, match=said) as failed:
        fitted(tmp_path, image, 8)
    assert failed.value.code == "bad_partition_table"


def test_entries_of_an_impossible_size_are_refused(tmp_path):
    image = made(tmp_path / "image", 8)
    image[512 + 80 : 512 + 84] = struct.pack("<I", 1 << 30)
    image[512 + 16 : 512 + 20] = bytes(4)
    image[512 + 16 : 512 + 20] = struct.pack("<I", zlib.crc32(image[512 : 512 + 92]))
    with pytest.raises(Failed, match="impossible size"):
        fitted(tmp_path, image, 8)


@pytest.mark.parametrize("label", ["dos", None])
def test_what_has_no_protective_record_is_left_alone(tmp_path, label):
    image = bytearray(8 * MIB)
    if label:
        (tmp_path / "image").write_bytes(image)
        partitions(tmp_path / "image", "start=2048", label=label)
        image = bytearray((tmp_path / "image").read_bytes())
    found, path = fitted(tmp_path, image, 8)
    assert found is None
    assert path.read_bytes() == image


def test_a_hybrid_record_is_kept(tmp_path):
    image = made(tmp_path / "image", 8)
    image[462:478] = b"\x80\0\0\0\x0c\0\0\0" + struct.pack("<II", 2048, 6144)
    _, path = fitted(tmp_path, image, 16)
    assert path.read_bytes()[:512] == image[:512]
