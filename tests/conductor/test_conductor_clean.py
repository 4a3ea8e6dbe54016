"""Cleaning, by the real Ironic: automated, steps of a vendor, one that fails, one that is aborted."""

import signal

import pytest

from tests.support import processes

pytestmark = [pytest.mark.conductor, pytest.mark.root]

SECTOR = 512
FLASHED = 2047 * SECTOR


def step(name: str, **arguments: object) -> dict[str, object]:
    return {"interface": "deploy", "step": name, "args": arguments}


def test_automated_cleaning_reboots_where_a_step_asks_for_it(rack):
    machine = rack(automatic=True)
    disk = machine.disks[0]
    assert disk.signatures() == ["dos"]
    machine.node.patch("/extra", {"acme_device": disk.device})
    node = machine.node.provision("provide", "available")

    assert node["last_error"] is None
    assert disk.signatures() == []
    assert disk.read(8, FLASHED) == b"prepared"
    first, second = machine.boots
    assert [one["name"] for one in first.commands()] == [
        "clean.get_clean_steps",
        "deploy.erase_devices_metadata",
        "acme.prepare",
    ]
    assert second.names() == []
    assert machine.goes_off()


def test_manual_cleaning_runs_the_steps_of_a_vendor(rack):
    """Each manual cleaning power-cycles; within one, Ironic 39 reboots for no step (it drops reboot_requested)."""
    machine = rack()
    device = machine.disks[0].device
    for asked in (step("acme_flash", device=device, image="v2.bin"), step("acme_version", device=device)):
        machine.node.provision("clean", "manageable", clean_steps=[asked])

    assert machine.disks[0].read(11, FLASHED) == b"acme v2.bin"
    assert [boot.names() for boot in machine.boots] == [["get_clean_steps", "execute_clean_step"]] * 2
    flashed, told = (boot.commands()[-1] for boot in machine.boots)
    assert flashed["command_result"]["clean_step"]["step"] == "acme_flash"
    assert told["command_result"]["clean_result"] == {"version": "v2.bin"}


def test_a_failing_step_shows_the_sentence_of_the_plugin(rack):
    machine = rack()
    before = machine.disks[0].read(SECTOR, FLASHED)
    machine.node.ask("clean", clean_steps=[step("acme_flash", device=machine.disks[0].device, image="v2.txt")])
    node = machine.node.reach("clean failed")

    assert "Clean step deploy.acme_flash failed" in node["last_error"]
    assert node["last_error"].endswith("the image v2.txt is not for an Acme 9000; take one that ends in .bin")
    assert machine.disks[0].read(SECTOR, FLASHED) == before
    failed = next(one for one in machine.ramdisk.commands() if one["command_status"] == "FAILED")
    assert failed["command_error"]["type"] == "PluginFailed"


def test_ironic_refuses_arguments_that_the_manifest_does_not_know(rack):
    machine = rack()
    machine.node.ask("clean", clean_steps=[step("acme_flash", device=machine.disks[0].device, imgae="v2.bin")])
    error = machine.node.reach("clean failed")["last_error"]
    assert "unexpected arguments: imgae" in error
    assert "missing these required arguments: image (File name of the firmware)" in error
    assert "execute_clean_step" not in machine.ramdisk.names()


def test_an_aborted_step_ends_with_the_power(rack):
    machine = rack()
    machine.node.ask("clean", clean_steps=[step("acme_burn_in", seconds=300)])
    machine.node.until(
        lambda node: (
            (node["clean_step"] or {}).get("step") == "acme_burn_in" and node["provision_state"] == "clean wait"
        ),
        "the step runs",
    )
    running = machine.ramdisk.commands()[-1]
    assert (running["command_name"], running["command_status"]) == ("execute_clean_step", "RUNNING")
    machine.node.ask("abort")
    node = machine.node.reach("clean failed")
    assert "abort" in node["last_error"]
    assert machine.goes_off()


def test_a_step_that_is_not_abortable_is_not_aborted(rack):
    machine = rack()
    machine.node.ask("clean", clean_steps=[step("acme_seal")])
    machine.node.until(
        lambda node: (node["clean_step"] or {}).get("step") == "acme_seal" and node["provision_state"] == "clean wait",
        "the step runs",
    )
    machine.node.ask("abort")
    node = machine.node.reach("clean failed")
    assert "abort" in node["last_error"]
    sealed = machine.ramdisk.commands()[1]
    assert (sealed["name"], sealed["command_status"]) == ("acme.seal", "SUCCEEDED")


def test_killed_processes_of_the_agent_do_not_disturb_the_conductor(rack):
    machine = rack()
    machine.node.ask("clean", clean_steps=[step("acme_burn_in", seconds=3)])
    machine.node.until(
        lambda node: (
            (node["clean_step"] or {}).get("step") == "acme_burn_in" and node["provision_state"] == "clean wait"
        ),
        "the step runs",
    )
    for role in ("heartbeat", "runner", "front"):
        processes.kill(machine.ramdisk.pid(role), signal.SIGKILL)
    machine.node.reach("manageable")
    [boot] = machine.boots
    burnt = boot.commands()[1]
    assert (burnt["command_status"], burnt["command_result"]["clean_result"]) == ("SUCCEEDED", {"seconds": 3})


def test_a_plugin_dropped_in_while_cleaning_makes_ironic_ask_for_the_steps_again(rack):
    machine = rack()
    steps = [step("acme_burn_in", seconds=1), step("acme_seal")]
    machine.node.ask("clean", clean_steps=steps)
    machine.node.until(
        lambda node: (
            (node["clean_step"] or {}).get("step") == "acme_burn_in" and node["provision_state"] == "clean wait"
        ),
        "the step runs",
    )
    machine.drop("acme.late", "acme.burn_in", "acme_late")
    machine.node.reach("manageable")
    assert machine.ramdisk.names().count("get_clean_steps") == 2
    statuses = [one["command_status"] for one in machine.ramdisk.commands()]
    assert statuses.count("CLEAN_VERSION_MISMATCH") == 1
    assert [one["name"] for one in machine.ramdisk.commands()][-1] == "acme.seal"
