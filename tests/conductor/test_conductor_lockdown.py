"""A machine that Ironic must not switch off: the agent is locked down before the instance boots."""

import pytest

from tests.support.disk_images import Image

pytestmark = [pytest.mark.conductor, pytest.mark.root]


def test_deploy_without_power_off_locks_the_agent_down(ironic, rack):
    machine, image = rack(), Image(ironic, "lockdown.raw", "dos")
    machine.node.patch("/disable_power_off", True)
    node = machine.deploy(image)
    assert node["last_error"] is None
    [boot] = machine.boots
    assert boot.names()[-2:] == ["sync", "lockdown"]
    assert (boot.state / "closed").read_text() == "network system.lockdown\n"
    down = (boot.root / "links").read_text().splitlines()
    assert down
    assert all(line.startswith("link set dev ") and line.endswith(" down") for line in down)
    assert "link set dev lo down" not in down
    assert boot.switched_off_by == ""
