"""Inspection and what may follow without a reboot (fast track), by the real Ironic."""

from pathlib import Path

import pytest

from tests.support.disk_images import IMAGE_MIB, MIB, Image

pytestmark = [pytest.mark.conductor, pytest.mark.root]


@pytest.fixture
def addresses() -> tuple[str, ...]:
    """Ironic finds an inspected node by its MACs."""
    return (Path("/sys/class/net/eth0/address").read_text().strip(),)


def test_inspection_fills_the_node_and_switches_the_machine_off(ironic, rack, addresses):
    machine = rack(addresses)
    node = machine.node.provision("inspect", "manageable")

    [boot] = machine.boots
    assert "ipa-inspection-callback-url=" in boot.cmdline
    assert " ipa-api-url=" not in boot.cmdline
    assert node["last_error"] is None
    assert int(node["properties"]["memory_mb"]) > 0
    assert int(node["properties"]["cpus"]) > 0
    assert node["properties"]["cpu_arch"] == "x86_64"
    data = ironic.request("GET", f"/v1/nodes/{machine.node.uuid}/inventory")
    assert set(addresses) <= {one["mac_address"] for one in data["inventory"]["interfaces"]}
    assert data["plugin_data"]["error"] is None
    assert machine.goes_off()


def test_fast_track_cleans_and_deploys_without_a_reboot(ironic, rack, addresses):
    machine, image = rack(addresses, fast_track=True), Image(ironic, "fast.raw", "dos")
    machine.node.provision("inspect", "manageable")
    assert machine.runs, "the agent stays, and goes on to send heartbeats"
    machine.node.until(lambda node: "agent_url" in node["driver_internal_info"], "a heartbeat after the inspection")
    machine.node.provision("provide", "available")
    machine.node.patch("/instance_info", image.instance_info)
    machine.node.provision("active", "active")

    [boot] = machine.boots
    assert [name for name in boot.names() if name.startswith("get_") and name.endswith("steps")] == [
        "get_clean_steps",
        "get_deploy_steps",
    ]
    assert machine.disks[0].sha256(IMAGE_MIB * MIB) == image.digest
    assert machine.goes_off()


def test_a_collector_that_fails_makes_a_failed_inspection_with_its_sentence(rack, addresses):
    machine = rack(addresses, kernel_append_params="%default% ipa-inspection-collectors=default,acme-missing")
    machine.node.ask("inspect")
    node = machine.node.reach("inspect failed")
    assert "inspect.acme_missing" in node["last_error"]
