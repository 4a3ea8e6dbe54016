"""The life of an instance, by the real Ironic: service, rescue, unrescue, undeploy."""

import json
import subprocess

import pytest

from tests.support.disk_images import IMAGE_MIB, MIB, Image
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.conductor, pytest.mark.root]

PASSWORD = "lab-secret"


def step(name: str, **arguments: object) -> dict[str, object]:
    return {"interface": "deploy", "step": name, "args": arguments}


def test_service_rescue_unrescue_undeploy(ironic, rack):
    machine, image = rack(), Image(ironic, "life.raw", "dos")
    disk = machine.disks[0]
    machine.deploy(image)

    machine.node.provision("service", "active", service_steps=[step("acme_flash", device=disk.device, image="v3.bin")])
    assert machine.goes_off()
    assert machine.ramdisk.commands()[-1]["command_result"]["service_step"]["step"] == "acme_flash"
    assert disk.read(11, 2047 * 512) == b"acme v3.bin"

    machine.node.provision("rescue", "rescue", rescue_password=PASSWORD)
    assert machine.runs
    shadow = dict(line.split(":")[:2] for line in machine.ramdisk.file("/etc/shadow").splitlines())
    _, kind, salt, _ = shadow["rescue"].split("$")
    hashed = ["openssl", "passwd", f"-{kind}", "-salt", salt, PASSWORD]
    assert subprocess.run(hashed, capture_output=True, text=True, check=True).stdout.strip() == shadow["rescue"]
    assert shadow["rescue"] not in json.dumps(machine.ramdisk.commands())
    wait_for(machine.ramdisk.refuses, "the agent has ended, as the machine is the tenant's now")
    wait_for(lambda: machine.ramdisk.processes() == ["supervisor"], "neither heartbeats nor plugins")
    assert machine.runs
    assert not (machine.ramdisk.root / "links").exists(), "the network stays up for the tenant"

    machine.node.provision("unrescue", "active")
    assert machine.goes_off()
    assert disk.read(IMAGE_MIB * MIB)[MIB:] == image.path.read_bytes()[MIB:]

    machine.node.ask("service", service_steps=[step("acme_flash", device=disk.device, image="v4.txt")])
    node = machine.node.reach("service failed")
    assert node["last_error"].endswith("the image v4.txt is not for an Acme 9000; take one that ends in .bin")

    machine.node.until(lambda node: node["reservation"] is None, "a node that nobody has reserved")
    machine.node.box.request("DELETE", f"/v1/nodes/{machine.node.uuid}/maintenance")
    machine.node.patch("/automated_clean", True)
    machine.node.provision("deleted", "available")
    assert machine.goes_off()
    assert disk.signatures() == []
