import shutil
import subprocess

import pytest

from agent_router.image.formats.plausible import LOOK, content
from tests.support.disks import partitions

MIB = 1 << 20


@pytest.mark.parametrize(("argv", "name"), [
    ("mkfs.ext4 -q -F", "ext"), ("mkfs.vfat", "boot record"), ("mkfs.xfs -q -f", "XFS"), ("mkfs.btrfs -q -f", "Btrfs"),
    ("mkswap", "swap"), ("mkfs.f2fs -q -f", "F2FS"),
])  # fmt: skip
def test_knows_what_mkfs_makes(tmp_path, argv, name):
    if not shutil.which(argv.split()[0]):
        pytest.skip(f"needs {argv.split()[0]}")
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(512 * MIB)
    subprocess.run([*argv.split(), path], check=True, capture_output=True)
    with path.open("rb") as file:
        assert content(file.read(LOOK)) == name


@pytest.mark.parametrize(("label", "name"), [("gpt", "GPT"), ("dos", "boot record")])
def test_knows_partition_tables(tmp_path, label, name):
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * MIB))
    partitions(path, "start=2048", label=label)
    assert content(path.read_bytes()[:LOOK]) == name


@pytest.mark.parametrize("start", [bytes(LOOK), b"\xa5" * LOOK, b"", b"\0" * 600])
def test_knows_nothing_of_anything_else(start):
    assert content(start) is None


def test_an_iso_is_known_wherever_else_it_has_no_record():
    assert content(bytes(0x8001) + b"CD001" + bytes(MIB)) == "ISO 9660"
