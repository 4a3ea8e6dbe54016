import pytest

from agent_router.storage import disk_list, lsblk

ARRAY = {"kname": "md0", "type": "raid10", "size": 10}
LUN = {"kname": "dm-0", "type": "mpath", "size": 10}
PART = {"kname": "sda1", "type": "part", "children": [ARRAY]}
TREE = [
    {"kname": "sda", "type": "disk", "size": "10", "children": [PART]},
    {"kname": "sdb", "type": "disk", "size": 10, "children": [LUN]},
    {"kname": "sdc", "type": "disk", "size": 0}, {"kname": "sdd", "type": "disk", "size": None},
    {"kname": "zram0", "type": "disk", "size": 10}, {"kname": "mtdblock0", "type": "disk", "size": 10},
    {"kname": "loop0", "type": "loop", "size": 10}, {"kname": "loop1", "type": "loop", "size": 0},
    {"kname": "sr0", "type": "rom", "size": 10},
]  # fmt: skip


@pytest.mark.parametrize(("types", "names"), [
    (disk_list.DISKS, ["sda", "md0", "dm-0"]), (["disk"], ["sda"]), (["raid"], ["md0"]), (["mpath"], ["dm-0"]),
    (["loop"], ["loop0"]), (["rom", "disk"], ["sda", "sr0"]),
])  # fmt: skip
def test_what_is_listed(types, names):
    assert [node["kname"] for node in disk_list.chosen(TREE, types)] == names


@pytest.mark.parametrize(
    ("given", "expected"), [(None, None), ("", None), ("  ", None), (" ATA     ", "ATA"), (5, "5")]
)
def test_text(given, expected):
    assert lsblk.text(given) == expected


@pytest.mark.parametrize(("given", "expected"), [(None, None), ("", None), ("512", 512), (512, 512), (0, 0)])
def test_number(given, expected):
    assert lsblk.number(given) == expected


@pytest.mark.parametrize(("given", "expected"), [(True, True), ("1", True), ("0", False), (None, False), (0, False)])
def test_flag(given, expected):
    assert lsblk.flag(given) is expected


def test_links_are_sorted_by_name_and_keyed_by_what_they_point_at(tmp_path):
    (tmp_path / "sda").touch()
    directory = tmp_path / "disk/by-id"
    directory.mkdir(parents=True)
    for name in ("wwn-0x5", "ata-X"):
        (directory / name).symlink_to("../../sda")
    assert lsblk.links("by-id", tmp_path) == {"sda": [str(directory / "ata-X"), str(directory / "wwn-0x5")]}
    assert lsblk.links("by-path", tmp_path) == {}
