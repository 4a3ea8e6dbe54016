from pathlib import Path

import pytest

from agent_router.plugin import InvalidRequest
from agent_router.storage import blockdev

MOUNTINFO = r"""22 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw
30 22 8:1 / /mnt/a\040b rw - vfat /dev/sda1 rw
31 22 0:45 / /srv rw - btrfs /dev/sdb rw
"""
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda3 partition 1 0 -2\n"


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A machine with sda (three partitions, the third under md0) and sdb."""
    root = tmp_path / "sys"
    (root / "class/block").mkdir(parents=True)

    def add(name: str, under: str, **files: str) -> Path:
        directory = root / "devices" / under / name
        directory.mkdir(parents=True)
        (root / "class/block" / name).symlink_to(directory)
        for key, value in files.items():
            path = directory / key.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(value + "\n")
        return directory

    queue = {
        "queue__discard_max_bytes": "1024",
        "queue__logical_block_size": "512",
        "queue__rotational": "1",
        "queue__physical_block_size": "4096",
        "queue__write_zeroes_max_bytes": "7",
    }
    add("sda", "", dev="8:0", size="4096", ro="0", **queue)
    for number in (10, 1, 2, 3):
        add(f"sda{number}", "sda", dev=f"8:{number}", size="8", partition=str(number))
    add("sdb", "", dev="8:16", size="x")
    (root / "class/block/sda3/holders").mkdir()
    (root / "class/block/sda3/holders/md0").touch()
    add("loop0", "", dev="7:0", loop__backing_file="/dev/sda1")
    return root


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    root = tmp_path / "proc"
    (root / "self").mkdir(parents=True)
    (root / "self/mountinfo").write_text(MOUNTINFO)
    (root / "swaps").write_text(SWAPS)
    return root


def test_partitions_come_in_the_order_of_their_numbers(sys):
    assert blockdev.partitions("sda", sys) == ["sda1", "sda2", "sda3", "sda10"]
    assert blockdev.partitions("sda1", sys) == []


def test_whole_disk(sys):
    assert blockdev.whole_disk("sda3", sys) == "sda"
    assert blockdev.whole_disk("sda", sys) == "sda"


def test_sizes_are_bytes_and_zero_if_unreadable(sys):
    assert blockdev.size_bytes("sda", sys) == 4096 * 512
    assert blockdev.size_bytes("sdb", sys) == blockdev.size_bytes("no-such", sys) == 0


def test_uses_names_mounts_swap_and_holders_of_all_partitions(sys, proc):
    assert blockdev.uses("sda", sys, proc) == [
        "sda1 is mounted at /mnt/a b",
        "loop0 is built on sda1",
        "sda2 is mounted at /",
        "sda3 is in use as swap",
        "md0 is built on sda3",
    ]
    assert blockdev.uses("sda10", sys, proc) == []


def test_a_mount_is_found_by_its_source_too(sys, proc):
    # btrfs: the number in mountinfo is not that of the disk.
    assert blockdev.mountpoints("sdb", sys, proc) == ["/srv"]


def test_limits_of_a_partition_are_those_of_its_disk(sys):
    expected = blockdev.QueueLimits(
        logical_block=512,
        physical_block=4096,
        discard_max=1024,
        write_zeroes_max=7,
        rotational=True,
        read_only=False,
    )
    assert blockdev.limits("sda2", sys) == expected


def test_sysfs_spells_a_slash_as_an_exclamation_mark(sys):
    assert blockdev.sysfs("cciss/c0d0", sys).name == "cciss!c0d0"


@pytest.mark.parametrize("path", ["/dev/null", "/etc/hostname", "/no/such/file"])
def test_kernel_name_refuses_other_files(path):
    with pytest.raises(InvalidRequest) as failed:
        blockdev.kernel_name(path)
    assert failed.value.code == "not_a_block_device"
    assert path in failed.value.message
