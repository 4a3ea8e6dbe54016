"""Deployment, by the real Ironic: what is on the disk afterwards, and what the user is told if it fails."""

import pytest

from tests.support.disk_images import IMAGE_MIB, MIB, Image, config_drive, part_digest, partitions

pytestmark = [pytest.mark.conductor, pytest.mark.root]


def test_a_raw_image_is_written(ironic, rack):
    machine, image = rack(), Image(ironic, "dos.raw", "dos")
    node = machine.deploy(image)

    assert node["last_error"] is None
    assert machine.disks[0].sha256(IMAGE_MIB * MIB) == image.digest
    [boot] = machine.boots
    assert boot.names()[:2] == ["get_deploy_steps", "execute_deploy_step"]
    assert "get_partition_uuids" in boot.names()
    written = boot.commands()[1]["command_result"]
    assert written["deploy_step"]["step"] == "write_image"
    # The step holds the image's credentials and the config drive: they are not shown again.
    assert "args" not in written["deploy_step"]
    assert machine.goes_off(), "the instance boots from its disk, without the agent"
    assert boot.switched_off_by


def test_a_vendors_step_the_image_and_the_config_drive(ironic, rack):
    machine, image = rack(), Image(ironic, "gpt.raw", "gpt")
    early = {"interface": "deploy", "step": "acme_seal", "args": {}, "priority": 90}
    drive = {"meta_data": {"hostname": "web-7"}, "user_data": {"packages": ["nginx"]}}
    machine.deploy(image, configdrive=drive, deploy_steps=[early])

    assert machine.goes_off()
    names = [command["name"] for command in machine.ramdisk.commands()]
    assert names.index("acme.seal") < names.index("deploy.write_image")
    disk = machine.disks[0].backing
    assert part_digest(disk) == image.partition()
    assert len(partitions(disk)) == 2
    assert config_drive(disk, "openstack/latest/meta_data.json")["hostname"] == "web-7"
    assert config_drive(disk, "openstack/latest/user_data") == {"packages": ["nginx"]}


def test_a_damaged_image_is_told_in_one_sentence_and_boots_nothing(ironic, rack):
    machine, image = rack(), Image(ironic, "bad.raw", "dos")
    image.instance_info["image_os_hash_value"] = "0" * 64
    machine.prepare(image)
    machine.node.ask("active")
    node = machine.node.reach("deploy failed")

    assert "Deploy step deploy.write_image failed" in node["last_error"]
    assert image.digest in node["last_error"]
    assert "0" * 64 in node["last_error"]
    assert machine.disks[0].read(MIB) == bytes(MIB)
