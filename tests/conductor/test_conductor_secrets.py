"""What the real Ironic's lookup brings: the token stands where it must and nowhere else, TLS is as wanted."""

import json

import pytest

from tests.support.disk_images import Image

pytestmark = [pytest.mark.conductor, pytest.mark.root]

HELD = {"state/token", "state/ironic.json"}


def holding(boot, secret):
    """The files of a boot that have `secret` in them: what it said, its journals, its logs, its state."""
    files = [path for path in boot.root.rglob("*") if path.is_file() and not path.is_relative_to(boot.root / "ram")]
    assert boot.root / "output" in files
    assert boot.state / "history" in files
    return {str(path.relative_to(boot.root)) for path in files if secret.encode() in path.read_bytes()}


def test_after_cleaning_and_deployment_no_log_has_a_token(ironic, rack):
    machine, image = rack(), Image(ironic, "secret.raw", "dos")
    flash = {"device": machine.disks[0].device, "image": "v2.bin"}
    step = {"interface": "deploy", "step": "acme_flash", "args": flash}
    machine.node.provision("clean", "manageable", clean_steps=[step])
    machine.deploy(image, configdrive={"user_data": {"password": "config-drive-secret"}})
    assert machine.goes_off()

    cleaned, deployed = machine.boots
    tokens = [(boot.state / "token").read_text() for boot in (cleaned, deployed)]
    assert len({*tokens}) == 2, "a new boot has a new token"
    for boot, token in zip((cleaned, deployed), tokens, strict=True):
        assert len(token) == 43
        assert "heartbeats accepted" in boot.output
        assert holding(boot, token) == HELD
        assert json.loads((boot.state / "node.json").read_text())["properties"]["cpu_arch"] == "x86_64"
        assert json.loads((boot.state / "tls.json").read_text()) == {"minimum": "1.3", "ciphers": None}
    assert "execute_deploy_step" in deployed.names()
