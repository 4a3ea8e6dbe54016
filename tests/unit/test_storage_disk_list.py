import pytest

from agent_router.storage import disk_list, lsblk


@pytest.mark.parametrize(("node", "types", "wanted"), [
    ({"kname": "sda", "type": "disk", "size": 10}, ["disk"], True),
    ({"kname": "sda", "type": "disk", "size": "10"}, ["disk"], True),
    ({"kname": "sda", "type": "disk", "size": 0}, ["disk"], False),
    ({"kname": "sda", "type": "disk", "size": None}, ["disk"], False),
    ({"kname": "zram0", "type": "disk", "size": 10}, ["disk"], False),
    ({"kname": "ram0", "type": "disk", "size": 10}, ["disk"], False),
    ({"kname": "loop0", "type": "loop", "size": 10}, ["disk"], False),
    ({"kname": "loop0", "type": "loop", "size": 10}, ["loop"], True),
    ({"kname": "md0", "type": "raid10", "size": 10}, ["raid"], True),
])  # fmt: skip
def test_wanted(node, types, wanted):
    assert disk_list.wanted(node, types) is wanted


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
