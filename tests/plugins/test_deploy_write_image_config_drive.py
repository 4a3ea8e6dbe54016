import base64
import gzip
import lzma
import subprocess
from pathlib import Path

import pytest

from tests.support.deployment import config_drive, deploy, ext, packed
from tests.support.disk_content import assert_boots_nothing
from tests.support.disks import MIB, gpt_image, msdos_image, partitions, table_of
from tests.support.plugin import PluginFailed

TOO_LARGE = "too large"  # made in the test: it takes a while


@pytest.fixture
def disk(root_disk):
    return root_disk


@pytest.mark.root
def test_a_new_partition_for_the_config_drive_on_gpt(call, serve, disk, tmp_path):
    image, drive = gpt_image(tmp_path / "image"), config_drive(tmp_path)
    place = deploy(call, serve(image), image, configdrive=packed(drive))["config_drive"]
    last = table_of(disk)["partitions"][-1]
    assert (last["start"] * 512, last["size"] * 512, last["name"]) == (place["start"], place["size"], "config-2")
    assert place["partition"] == 2
    assert place["size"] >= 64 * MIB
    assert Path(disk).read_bytes()[place["start"] :][: len(drive)] == drive
    found = subprocess.run(
        ["blkid", "--probe", "--offset", str(place["start"]), disk], capture_output=True, text=True, check=True
    )
    assert 'LABEL="CONFIG-2"' in found.stdout


@pytest.mark.root
def test_a_new_partition_for_the_config_drive_on_msdos(call, serve, disk, tmp_path):
    image = msdos_image(tmp_path / "image", 8, "start=2048, size=4096, type=83")
    drive = config_drive(tmp_path)
    place = deploy(call, serve(image), image, configdrive=packed(drive))["config_drive"]
    assert place == {"partition": 2, "start": 36 * MIB, "size": 64 * MIB}
    last = table_of(disk)["partitions"][-1]
    assert (last["start"], last["type"]) == (36 * 2048, "c")
    assert Path(disk).read_bytes()[36 * MIB :][: len(drive)] == drive


@pytest.mark.root
def test_the_partition_with_that_name_is_used(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image", 8, "start=2048, size=1MiB", "size=2MiB, name=config-2")
    drive = config_drive(tmp_path)
    place = deploy(call, serve(image), image, configdrive=packed(drive))["config_drive"]
    assert (place["partition"], place["size"]) == (2, 2 * MIB)
    assert len(table_of(disk)["partitions"]) == 2


@pytest.mark.root
def test_the_partition_whose_file_system_has_that_label_is_used(call, serve, disk, tmp_path):
    image = bytearray(msdos_image(tmp_path / "image", 8, "start=2048, size=4096, type=c", "size=4096, type=83"))
    image[MIB : 2 * MIB] = config_drive(tmp_path)
    fresh = ext(MIB)
    place = deploy(call, serve(bytes(image)), bytes(image), configdrive=packed(fresh))["config_drive"]
    assert place == {"partition": 1, "start": MIB, "size": 2 * MIB}
    assert Path(disk).read_bytes()[MIB : 2 * MIB] == fresh


@pytest.mark.root
def test_two_such_partitions_are_one_too_many(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image", 8, "size=1MiB, name=config-2", "size=1MiB, name=CONFIG-2")
    with pytest.raises(PluginFailed, match="partitions 1 and 2") as failed:
        deploy(call, serve(image), image, configdrive=packed(ext(4096)))
    assert failed.value.code == "two_config_drives"


@pytest.mark.root
def test_four_primary_partitions_leave_no_place(call, serve, disk, tmp_path):
    image = msdos_image(tmp_path / "image", 8, *["size=2048, type=83"] * 4)
    with pytest.raises(PluginFailed, match="4 primary partitions") as failed:
        deploy(call, serve(image), image, configdrive=packed(ext(4096)))
    assert failed.value.code == "no_free_slot"


@pytest.mark.root
@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_disk_that_is_full_leaves_no_place(call, serve, disk, tmp_path, label):
    if label == "gpt":
        image = gpt_image(tmp_path / "image", 100, "size=60MiB")
    else:
        image = msdos_image(tmp_path / "image", 100, "size=60MiB, type=83")
    with pytest.raises(PluginFailed, match="64 MiB") as failed:
        deploy(call, serve(image), image, configdrive=packed(ext(4096)))
    assert failed.value.code == "no_space"


@pytest.mark.root
def test_an_image_without_partitions_has_no_place_for_a_config_drive(call, serve, disk):
    image = ext(MIB)
    with pytest.raises(PluginFailed, match=r"cannot be added; /dev/loop.* holds no image now") as failed:
        deploy(call, serve(image), image, configdrive=packed(ext(4096)))
    assert failed.value.code == "no_partition_table"
    assert_boots_nothing(disk)
    assert deploy(call, serve(image), image)["partition_table"] is None
    assert "no partition table" in call.warnings[0]


@pytest.mark.root
def test_a_config_drive_from_a_url(call, serve, disk, tmp_path):
    image, drive = gpt_image(tmp_path / "image"), config_drive(tmp_path)
    whole = base64.b64encode(drive)
    for body in (packed(drive).encode(), drive, gzip.compress(drive), whole, whole[:70] + b"\n" + whole[70:]):
        url = serve(body).url.replace("http", "HTTP")
        place = deploy(call, serve(image), image, configdrive=url, info={"id": url})["config_drive"]
        assert Path(disk).read_bytes()[place["start"] :][: len(drive)] == drive


@pytest.mark.root
@pytest.mark.parametrize(("body", "said"), [
    (b"", "is empty"), (b" \n", "is empty"), (b"File not found.\n", "neither a file system"),
    (b'{"error": 404}', "a JSON document: check what the URL returns"), (b"<html>sign in</html>", "an HTML page"),
    (gzip.compress(b"no file system"), "no ISO 9660, vfat or ext"), (bytes(MIB), "neither a file system"),
    (base64.b64encode(bytes(MIB)), "no ISO 9660"), (lzma.compress(bytes(4096)), "neither a file system"),
    (gzip.compress(bytes(1 << 20))[:-20], "truncated"),
])  # fmt: skip
def test_what_a_url_gives_and_is_no_config_drive_is_refused_before_the_disk_is_touched(
    call, serve, disk, tmp_path, body, said
):
    before = Path(disk).read_bytes()
    image = gpt_image(tmp_path / "image")
    with pytest.raises(PluginFailed, match=said) as failed:
        deploy(call, serve(image), image, configdrive=serve(body).url)
    assert failed.value.code == "bad_config_drive"
    assert Path(disk).read_bytes() == before


@pytest.mark.root
@pytest.mark.parametrize(("given", "code"), [
    ("!!", "bad_config_drive"), (base64.b64encode(b"no gzip").decode(), "bad_config_drive"),
    (packed(bytes(range(200)))[:40], "bad_config_drive"), (TOO_LARGE, "config_drive_too_large"),
])  # fmt: skip
def test_a_bad_config_drive_is_found_before_the_disk_is_touched(call, serve, disk, tmp_path, given, code):
    before = Path(disk).read_bytes()
    image = gpt_image(tmp_path / "image")
    given = packed(bytes(64 * MIB + 1)) if given is TOO_LARGE else given
    with pytest.raises(PluginFailed) as failed:
        deploy(call, serve(image), image, configdrive=given)
    assert failed.value.code == code
    assert Path(disk).read_bytes() == before


@pytest.mark.root
def test_a_config_drive_on_a_disk_of_4k_sectors(call, serve, disk_of_4k_sectors, tmp_path):
    disk = disk_of_4k_sectors
    partitions(disk, "start=256, size=2MiB")
    image = Path(disk).read_bytes()[: 8 * MIB]
    drive = ext(4096)
    place = deploy(call, serve(image), image, configdrive=packed(drive))["config_drive"]
    last = table_of(disk)["partitions"][-1]
    assert (last["start"] * 4096, last["name"]) == (place["start"], "config-2")
    assert Path(disk).read_bytes()[place["start"] :][:4096] == drive
    assert "not made for sectors of 4096 bytes" in call.warnings[0]


@pytest.mark.root
def test_on_sectors_of_4k_its_files_are_put_into_a_vfat_made_for_them(call, serve, disk_of_4k_sectors, tmp_path):
    disk = disk_of_4k_sectors
    tree, drive = tmp_path / "tree", tmp_path / "drive"
    (tree / "openstack/latest").mkdir(parents=True)
    (tree / "openstack/latest/meta_data.json").write_text("{}")
    drive.write_bytes(bytes(4 * MIB))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(drive)], check=True)
    partitions(disk, "start=256, size=2MiB")
    image = Path(disk).read_bytes()[: 8 * MIB]
    place = deploy(call, serve(image), image, configdrive=packed(drive.read_bytes()))["config_drive"]
    listed = subprocess.run(["mdir", "-b", "-/", "-i", f"{disk}@@{place['start']}", "::"],
                            capture_output=True, text=True, check=True, env={"MTOOLS_SKIP_CHECK": "1"})  # fmt: skip
    assert "::/openstack/latest/meta_data.json" in listed.stdout.splitlines()
    found = subprocess.run(
        ["blkid", "--probe", "--offset", str(place["start"]), disk], capture_output=True, text=True, check=True
    ).stdout
    assert 'LABEL="CONFIG-2"' in found
    assert 'BLOCK_SIZE="4096"' in found
    assert call.warnings == []
    assert "/tmp/agent-router-" not in Path("/proc/mounts").read_text()
