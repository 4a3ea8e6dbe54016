"""RAID steps of a vendor's plugins, by the real Ironic: what the controller has is what Ironic remembers."""

import pytest

from tests.support.disk_images import Image

pytestmark = [pytest.mark.conductor, pytest.mark.root]

SECTOR = 512
FLASHED = 2047 * SECTOR
TARGET = {"logical_disks": [{"size_gb": 100, "raid_level": "1", "is_root_volume": True}]}
MADE = {**TARGET["logical_disks"][0], "controller": "acme0", "volume_name": "vd0"}


def raid(step: str) -> dict[str, object]:
    return {"interface": "raid", "step": step}


def test_manual_cleaning_makes_and_deletes_the_volumes_of_a_vendor(rack):
    machine = rack()
    machine.node.patch("/extra", {"acme_device": machine.disks[0].device})
    machine.node.box.request("PUT", f"/v1/nodes/{machine.node.uuid}/states/raid", TARGET)
    steps = [raid("delete_configuration"), raid("create_configuration")]
    node = machine.node.provision("clean", "manageable", clean_steps=steps)

    assert node["raid_config"]["logical_disks"] == [MADE]
    assert node["last_error"] is None
    assert "raid_level:1" in node["properties"]["capabilities"]
    assert machine.disks[0].read(9, FLASHED) == b"acme raid"
    deleted, created = (one for one in machine.ramdisk.commands() if one["command_name"] == "execute_clean_step")
    assert (deleted["name"], created["name"]) == ("acme.unraid", "acme.raid")
    assert created["command_result"]["clean_result"] == {"logical_disks": [MADE]}

    node = machine.node.provision("clean", "manageable", clean_steps=[raid("delete_configuration")])
    assert node["raid_config"] == {}
    assert machine.disks[0].read(9, FLASHED) == b"acme none"


def test_a_configuration_that_the_controller_cannot_do(rack):
    machine = rack()
    machine.node.patch("/extra", {"acme_device": machine.disks[0].device})
    raid_path = f"/v1/nodes/{machine.node.uuid}/states/raid"
    machine.node.box.request("PUT", raid_path, {"logical_disks": [{"size_gb": "MAX", "raid_level": "6"}]})
    machine.node.ask("clean", clean_steps=[raid("create_configuration")])
    node = machine.node.reach("clean failed")
    assert node["last_error"].endswith("an Acme 9000 cannot do RAID 6; take 1")
    assert node["raid_config"] == {}


def test_a_deployment_makes_the_volumes_before_it_writes_the_image(ironic, rack):
    machine, image = rack(), Image(ironic, "raid.raw", "dos")
    machine.node.patch("/extra", {"acme_device": machine.disks[0].device})
    apply = {**raid("apply_configuration"), "priority": 95, "args": {"raid_config": TARGET}}
    node = machine.deploy(image, deploy_steps=[apply])
    assert node["raid_config"]["logical_disks"] == [MADE]
    done = [one["name"] for one in machine.ramdisk.commands() if one["command_name"] == "execute_deploy_step"]
    assert done[:2] == ["acme.raid", "deploy.write_image"]
