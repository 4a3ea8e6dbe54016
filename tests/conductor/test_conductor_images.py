"""Images that the unmodified Ironic has never seen: qcow2 in one pass, by a swarm, by multicast, by their URL alone."""

import functools
import json
import shutil
import subprocess

import pytest

from tests.support.cable import Cable, FarMachine
from tests.support.disk_images import MIB, config_drive, part_digest, partitions
from tests.support.seed import PORTBASE, Seed

pytestmark = [
    pytest.mark.conductor,
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("udp-sender") is None, reason="needs udpcast"),
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img of qemu-utils"),
]


@pytest.fixture(scope="module")
def cable(ironic):
    made = Cable(ironic, ends=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def seed(cable, tmp_path_factory):
    pytest.importorskip("libtorrent")
    made = Seed(tmp_path_factory.mktemp("seed"), cable)
    yield made
    made.close()


@pytest.fixture
def machine(rack, cable):
    return rack(kind=functools.partial(FarMachine, cable))


class Told:
    """Only what `machine.deploy()` reads of an image."""

    def __init__(self, instance_info):
        self.instance_info = instance_info


def deploy(machine, seed, instance_info):
    begin(machine, instance_info)
    return end(machine, seed)


def begin(machine, instance_info):
    machine.prepare(Told(instance_info))
    machine.node.ask("active", configdrive={"meta_data": {"hostname": "web-7"}})


def end(machine, seed):
    """With a config drive, which is looked for behind the moved backup of the GPT; returns what the step said."""
    assert machine.node.reach("active")["last_error"] is None
    assert machine.goes_off()
    disk = machine.disks[0].backing
    assert part_digest(disk) == seed.partition
    assert len(partitions(disk)) == 2
    assert config_drive(disk, "openstack/latest/meta_data.json")["hostname"] == "web-7"
    checked = subprocess.run(["sgdisk", "--verify", disk], capture_output=True, text=True, check=True)
    assert "No problems found" in checked.stdout, "the backup of the GPT lies at the end of the disk"
    [boot] = machine.boots
    [step] = [one for one in boot.commands() if "execute_deploy_step" in one["command_name"]]
    return step["command_result"]["deploy_result"]


def test_qcow2_over_http(machine, seed):
    said = deploy(machine, seed, seed.instance_info("disk.qcow2", "sha512", "qcow2"))
    assert said.endswith("by http")
    policy = json.loads((machine.ramdisk.state / "image-policy.json").read_text())
    assert policy == {"permitted_image_formats": ["raw", "gpt", "qcow2", "iso"]}, "what the real lookup brings"


def test_qcow2_by_a_metalink_takes_what_qcow2_can_come_by(machine, seed):
    said = deploy(machine, seed, seed.by_checksum_file("disk.qcow2.meta4", "qcow2"))
    assert said.endswith("by http")


def test_a_swarm(machine, seed):
    said = deploy(machine, seed, seed.by_checksum_file("disk.raw.torrent"))
    assert said.endswith("by torrent")


def test_two_machines_by_one_multicast_session(rack, cable, seed):
    """The seed waits for two: to one alone udpcast would send by unicast."""
    assert f"udpcast://:{PORTBASE}" in seed.fetch("disk.raw.meta4")
    machines = [
        rack(addresses=(address,), kind=functools.partial(FarMachine, cable, end=number))
        for number, address in enumerate(("52:54:00:77:00:01", "52:54:00:77:00:02"))
    ]
    for machine in machines:
        begin(machine, seed.instance_info("disk.raw.meta4"))
    for machine in machines:
        assert end(machine, seed).endswith("by multicast")


def test_a_damaged_image_of_a_swarm_is_told_and_boots_nothing(machine, seed):
    told = seed.instance_info("disk.raw.torrent")
    right, told["image_os_hash_value"] = told["image_os_hash_value"], "0" * 64
    machine.prepare(Told(told))
    machine.node.ask("active")
    error = machine.node.reach("deploy failed")["last_error"]

    assert "Deploy step deploy.write_image failed" in error
    assert f"disk.raw.torrent has SHA-256 {right}, expected {'0' * 64}" in error
    disk = machine.disks[0]
    assert disk.read(MIB) == bytes(MIB)
    assert disk.read(MIB, disk.size - MIB) == bytes(MIB)
