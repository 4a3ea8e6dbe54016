import subprocess
from pathlib import Path

import pytest

from tests.support.disks import only_disks
from tests.support.plugin import PluginFailed, problems

STEP = "deploy.erase_devices"
ZERO = {"agent_erase_devices_iterations": 0}


def content(disk: str) -> bytes:
    return Path(disk).read_bytes()


def key(disk: str) -> str:
    return Path(disk).name


@pytest.fixture
def disks(call, fake_tool, loop_disk):
    found = [loop_disk(66), loop_disk(4)]
    only_disks(call, fake_tool, *found)
    return found


@pytest.mark.parametrize("info", [
    {"agent_erase_devices_iterations": -1}, {"disk_erasure_concurrency": 0}, {"agent_erase_devices_zeroize": "no"},
])  # fmt: skip
def test_schema_refuses(info):
    assert problems(STEP, "request", {"driver_internal_info": info})


def test_schema_accepts_what_ironic_sends():
    info = {"agent_url": "https://x", "agent_erase_devices_zeroize": True, "agent_erase_devices_iterations": 1}
    assert not problems(STEP, "request", {"driver_internal_info": info, "skip_block_devices": []})
    assert not problems(STEP, "request", {})


@pytest.mark.root
def test_overwrites_every_disk(call, disks):
    answer = call(STEP)
    assert {disk: done["stages"] for disk, done in answer["erased"].items()} == {
        disk: ["random", "zero"] for disk in disks
    }
    assert answer["skipped"] == {}
    for disk in disks:
        assert content(disk).count(0) == len(content(disk))
    shares = [event["done"] for event in call.events if "done" in event]
    assert shares == sorted(shares)
    assert shares[-1] == 100


@pytest.mark.root
def test_random_data_are_written_where_zeros_are_not_wanted(call, disks):
    info = {"agent_erase_devices_zeroize": False, "agent_erase_devices_iterations": 2}
    before = [content(disk) for disk in disks]
    answer = call(STEP, driver_internal_info=info)
    assert answer["erased"][disks[0]]["stages"] == ["random", "random"]
    for disk, old in zip(disks, before, strict=True):
        new = content(disk)
        assert all(new[at : at + 512] != old[at : at + 512] for at in range(0, len(new), 512))
        assert len(set(new[:4096])) > 200


@pytest.mark.root
def test_no_pass_at_all_is_no_erasing(call, disks):
    with pytest.raises(PluginFailed, match="settings disable overwriting") as failed:
        call(STEP, driver_internal_info={"agent_erase_devices_zeroize": False, **ZERO})
    assert failed.value.code == "erase_failed"


@pytest.mark.root
def test_several_disks_at_the_same_time(call, disks):
    answer = call(STEP, driver_internal_info={"disk_erasure_concurrency": 8})
    assert sorted(answer["erased"]) == sorted(disks)
    for disk in disks:
        assert not content(disk).strip(b"\0")


@pytest.mark.root
def test_the_skip_list_is_heeded(call, fake_tool, disks):
    only_disks(call, fake_tool, *disks, **{key(disks[1]): {"serial": "KEEP"}})
    before = content(disks[1])
    answer = call(STEP, driver_internal_info=ZERO, skip_block_devices=[{"serial": "keep"}])
    assert list(answer["erased"]) == [disks[0]]
    assert "skip_block_devices" in answer["skipped"][disks[1]]
    assert content(disks[1]) == before


@pytest.mark.root
def test_a_disk_outside_the_device_list_stops_all_before_the_first_write(call, disks):
    call.extra_env["AGENT_DEVICES"] = disks[0]
    before = [content(disk) for disk in disks]
    with pytest.raises(PluginFailed, match=f"{disks[1]} is not in the agent's device allow-list") as failed:
        call(STEP)
    assert (failed.value.code, failed.value.exit_status) == ("not_erasable", 77)
    assert [content(disk) for disk in disks] == before


@pytest.mark.root
def test_a_mounted_disk_stops_all_before_the_first_write(call, disks, tmp_path):
    subprocess.run(["mkfs.ext4", "-q", "-F", disks[1]], check=True)
    (tmp_path / "mnt").mkdir()
    subprocess.run(["mount", disks[1], str(tmp_path / "mnt")], check=True)
    before = content(disks[0])
    try:
        with pytest.raises(PluginFailed, match="is mounted at") as failed:
            call(STEP)
    finally:
        subprocess.run(["umount", str(tmp_path / "mnt")], check=True)
    assert failed.value.code == "not_erasable"
    assert content(disks[0]) == before


@pytest.mark.root
def test_write_protected_disks(call, fake_tool, disks):
    only_disks(call, fake_tool, *disks, **{key(disks[1]): {"ro": True}})
    with pytest.raises(PluginFailed, match=f"{disks[1]} is write-protected. Nothing was erased"):
        call(STEP)
    answer = call(STEP, driver_internal_info={"agent_erase_skip_read_only": True, **ZERO})
    assert answer["skipped"] == {disks[1]: "it is write-protected"}
    assert list(answer["erased"]) == [disks[0]]


@pytest.mark.root
@pytest.mark.parametrize("facts", [{"fstype": "gfs2"}, {"parttype": "AA31E02A-400F-11DB-9590-000C2911D1B8"}])
def test_file_systems_of_clusters_are_refused_unless_asked_for(call, fake_tool, loop_disk, facts):
    disk = loop_disk(2)
    child = {"name": "p", "kname": "p", "type": "part", "size": 1, **facts}
    only_disks(call, fake_tool, disk, **{key(disk): {"children": [child]}})
    with pytest.raises(PluginFailed, match="which other machines may be using") as failed:
        call(STEP)
    assert failed.value.code == "not_erasable"
    assert call(STEP, driver_internal_info={"wipe_special_filesystems": True})["erased"]


@pytest.mark.root
def test_stopping_tells_which_disks_are_erased(call, fake_tool, loop_disk):
    disks = [loop_disk(4), loop_disk(256)]
    only_disks(call, fake_tool, *disks)
    running = call.start(STEP, driver_internal_info={"agent_erase_devices_iterations": 100})
    running.wait_for_event("done")
    running.terminate()
    with pytest.raises(PluginFailed, match="stopped") as failed:
        running.finish()
    assert failed.value.code == "stopped"
    assert disks[1] in failed.value.details["failed"]


@pytest.mark.root
def test_an_array_that_cannot_be_stopped_is_a_failure_that_names_the_disk(call, fake_tool, disks, tmp_path):
    array = {"name": "md127", "kname": "md127", "type": "md", "size": 0}
    holders = Path(f"/sys/class/block/{key(disks[0])}/holders").resolve()
    only_disks(call, fake_tool, *disks, **{key(disks[0]): {"children": [array]}})
    fake_tool("mdadm", stderr="mdadm: fail to stop array /dev/md127: Device or resource busy", status=1)
    before = content(disks[0])
    fake_holders = tmp_path / "holders"
    fake_holders.mkdir()
    (fake_holders / "md127").touch()
    subprocess.run(["mount", "--bind", str(fake_holders), str(holders)], check=True)
    try:
        with pytest.raises(PluginFailed, match=f"{disks[0]}: md127 on it cannot be stopped: .*resource busy") as failed:
            call(STEP, driver_internal_info=ZERO)
    finally:
        subprocess.run(["umount", str(holders)], check=True)
    assert failed.value.code == "erase_failed"
    assert list(failed.value.partial["erased"]) == [disks[1]], "the others are erased"
    assert content(disks[0]) == before


@pytest.mark.root
def test_an_array_of_another_host_is_protected_by_its_name(call, fake_tool, disks):
    only_disks(call, fake_tool, *disks, **{key(disks[0]): {"type": "raid1"}})
    fake_tool("mdadm", stdout="MD_LEVEL=raid1\nMD_DEVNAME=node7:data\nMD_NAME=node7:data\n")
    before = content(disks[0])
    answer = call(STEP, driver_internal_info=ZERO, skip_block_devices=[{"volume_name": "data"}])
    assert "skip_block_devices" in answer["skipped"][disks[0]]
    assert content(disks[0]) == before
