"""The network fails for a while, by the real Ironic: what the agent works at goes on, and so does the flow."""

import functools
import time

import pytest

from tests.support.cable import Cable, FarMachine
from tests.support.disk_images import IMAGE_MIB, MIB, Image
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.conductor, pytest.mark.root, pytest.mark.slow]

AWAY_S = 10.0


@pytest.fixture
def cable(ironic):
    cable = Cable(ironic, images_bytes_per_s=1.6 * MIB)
    yield cable
    cable.close()


def away(cable, machine, while_away=lambda: None):
    """Nothing gets through in either direction for AWAY_S."""
    assert machine.ramdisk.serves()
    cable.unplug()
    begun = time.monotonic()
    assert not machine.ramdisk.serves(timeout_s=2)
    while_away()
    time.sleep(max(0.0, begun + AWAY_S - time.monotonic()))
    cable.plug()
    wait_for(machine.ramdisk.serves, "the link carries again", 30)


def written(machine):
    """Bytes of the image so far, by the progress of the running command."""
    running = [one for one in machine.ramdisk.commands() if one["command_status"] == "RUNNING"] if machine.boots else []
    return running[-1].get("progress", {}).get("done", 0) if running else 0


def test_an_image_is_written_all_the_same(ironic, rack, cable):
    machine, image = rack(kind=functools.partial(FarMachine, cable)), Image(ironic, "far.raw", "dos")
    image.instance_info["image_source"] = f"{cable.files_url}/far.raw"
    machine.prepare(image)
    machine.node.ask("active")
    wait_for(lambda: written(machine) > 2 * MIB, "a part of the image is written", 60)
    away(cable, machine)
    assert 0 < written(machine) < IMAGE_MIB * MIB // 2, machine.ramdisk.commands()[-1]
    node = machine.node.reach("active")

    assert node["last_error"] is None
    assert machine.disks[0].sha256(IMAGE_MIB * MIB) == image.digest
    [boot] = machine.boots
    assert boot.names().count("execute_deploy_step") == 1
    assert machine.goes_off()


def test_a_step_that_ends_meanwhile_is_told_afterwards(rack, cable):
    machine = rack(kind=functools.partial(FarMachine, cable))
    machine.node.ask("clean", clean_steps=[{"interface": "deploy", "step": "acme_burn_in", "args": {"seconds": 4}}])
    machine.node.until(
        lambda node: (
            (node["clean_step"] or {}).get("step") == "acme_burn_in" and node["provision_state"] == "clean wait"
        ),
        "the step runs",
    )
    away(cable, machine)
    machine.node.reach("manageable")

    [boot] = machine.boots
    assert boot.commands()[-1]["command_result"]["clean_result"] == {"seconds": 4}
    assert "ironic: heartbeat: " in boot.output, "a heartbeat was tried while the network was away"
