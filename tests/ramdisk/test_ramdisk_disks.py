"""disk.wipe and disk.erase on real drivers, judged from outside: by the files behind the disks."""

import subprocess

import pytest
from pinned import ApiError

from tests.support.rack import Guest

PREPARE = """
set -e
sgdisk --clear --new=1:2048:+64M --typecode=1:8300 {device} >&2
udevadm settle
mkfs.ext4 -q -F {device}1
sync
"""


def signatures(path: object) -> str:
    command = ["wipefs", "--no-act", "--noheadings", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_wipe(guest: Guest):
    device, file = guest.device("VIRTIO-TWO"), guest.disk_file("VIRTIO-TWO")
    guest.shell(PREPARE.format(device=device))
    assert "gpt" in signatures(file), "there is nothing to wipe, so this proves nothing"
    assert guest.api.call("disk.wipe", device=device)["wiped"] == ["PMBR", "ext4", "gpt"]
    assert signatures(file) == ""
    listed = next(disk for disk in guest.api.call("disk.list")["disks"] if disk["name"] == device)
    assert (listed["partition_table"], listed["partitions"]) == (None, [])


def test_a_label_on_an_inner_disk_means_nothing(guest: Guest):
    """A tenant wrote it, to bring in plugins or to save his data from being wiped."""
    device = guest.device("VIRTIO-TWO")
    guest.shell(f"""
        mkfs.ext4 -q -F -L agent-plugins {device} && mkdir -p /mnt/test && mount {device} /mnt/test
        mkdir /mnt/test/plugins.d && echo '#!/bin/sh' >/mnt/test/plugins.d/tenant.plugin && umount /mnt/test
        udevadm trigger --action=add --settle --name-match={device}
    """)
    assert "tenant.plugin" not in {method["name"] for method in guest.api.get("/v1/methods")["methods"]}
    assert guest.api.call("disk.wipe", device=device)["wiped"] == ["ext4"]


def test_a_mounted_disk_is_not_wiped(guest: Guest):
    device, file = guest.device("VIRTIO-TWO"), guest.disk_file("VIRTIO-TWO")
    guest.shell(PREPARE.format(device=device) + f"mkdir -p /mnt/test && mount {device}1 /mnt/test")
    try:
        with pytest.raises(ApiError) as refused:
            guest.api.request("POST", "/v1/methods/disk.wipe", {"device": device})
        assert "mounted" in refused.value.body["message"]
        assert "gpt" in signatures(file)
    finally:
        guest.shell("umount /mnt/test")


@pytest.mark.parametrize(("serial", "stages"), [("SATA-ONE", "zero"), ("NVME-ONE", "secure")])
def test_erase_leaves_nothing(guest: Guest, secret: bytes, serial: str, stages: str):
    device, file = guest.device(serial), guest.disk_file(serial)
    assert secret in file.read_bytes(), "there is nothing to erase, so this proves nothing"
    done = guest.api.call("disk.erase", device=device)
    assert stages in done["stages"]
    assert done["bytes"] == file.stat().st_size
    assert file.read_bytes().count(0) == file.stat().st_size


def test_smart_of_a_sata_disk(guest: Guest):
    assert guest.api.call("disk.smart", device=guest.device("SATA-ONE"))["serial_number"] == "SATA-ONE"
