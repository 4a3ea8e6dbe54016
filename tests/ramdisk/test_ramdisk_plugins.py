"""Plugins that were not in the ramdisk when it was built: an overlay at boot, sticks, and what is broken about them."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from machine_parts import make_fat_stick
from pinned import Api, ApiError, WrongCertificate

from tests.support import guest_overlays
from tests.support.rack import TOKEN, Guest


def test_a_vendors_plugin_and_its_binary_from_an_overlay(guest: Guest):
    answer = guest.api.call("acme.show", text="hello")
    assert answer == {"md5": hashlib.md5(b"hello").hexdigest()}


def test_a_broken_overlay_is_told_of_and_not_fatal(guest: Guest):
    catalogue = guest.api.get("/v1/methods")
    assert "acme.lost" not in ready_methods(guest)
    found = [notice for notice in catalogue["notices"] if notice["source"] == "initramfs"]
    assert len(found) == 1, catalogue["notices"]
    assert "was not merged" in found[0]["message"]


def test_nothing_else_went_wrong(guest: Guest):
    catalogue = guest.api.get("/v1/methods")
    assert [notice for notice in catalogue["notices"] if notice["source"] != "initramfs"] == []
    expected = {path.name for path in (Path(__file__).resolve().parents[2] / "plugins.d").iterdir()}
    states = {method["name"]: method["state"] for method in catalogue["methods"]}
    assert expected <= set(states)
    # The standard ramdisk has neither fwupd, nor hardware-detect, nor tgt.
    absent = {"firmware.devices", "inspect.extra_hardware", "image.export_iscsi"}
    assert {name for name in expected if states[name] != "ready"} <= absent


def test_a_stick_that_was_there_at_boot(guest: Guest):
    assert guest.api.call("stick.at_boot") == {"name": "stick.at_boot"}


@pytest.fixture
def plugged(guest: Guest, tmp_path: Path) -> Any:
    stick = make_fat_stick(tmp_path / "stick.img", guest_overlays.stick_content(tmp_path / "stick", "stick.plugged"))
    guest.machine.plug_stick(stick)
    yield "STICK-plugged"
    guest.machine.unplug_stick()


def test_a_stick_that_is_plugged_in_later(guest: Guest, plugged: str):
    end = time.monotonic() + 60
    while "stick.plugged" not in ready_methods(guest):
        assert time.monotonic() < end, "the plugin of the stick is not in the catalogue"
        time.sleep(0.5)
    assert guest.api.call("stick.plugged") == {"name": "stick.plugged"}
    # Both media are protected, in whole and in part.
    for serial in ("STICK-0", plugged):
        devices = guest.shell(f"lsblk --noheadings --list --output PATH {guest.device(serial)}").split()
        assert len(devices) == {plugged: 2}.get(serial, 1)
        for device in devices:
            assert_protected(guest, device)


def assert_protected(guest: Guest, device: str) -> None:
    for method in ("disk.wipe", "disk.erase"):
        with pytest.raises(ApiError) as refused:
            guest.api.request("POST", f"/v1/methods/{method}", {"device": device})
        assert refused.value.status == 403, refused.value
        assert "protected" in refused.value.body["message"]


def ready_methods(guest: Guest) -> set[str]:
    return {method["name"] for method in guest.api.get("/v1/methods")["methods"] if method["state"] == "ready"}


def test_another_certificate_than_that_on_the_console_gets_no_token(guest: Guest):
    other = Api("127.0.0.1", guest.machine.port, ":".join(["00"] * 32), TOKEN)
    with pytest.raises(WrongCertificate):
        other.get("/v1/methods")


def test_who_has_no_token_gets_nothing(guest: Guest):
    for token in ("", TOKEN[:-1]):
        stranger = Api("127.0.0.1", guest.machine.port, guest.api.fingerprint, token)
        with pytest.raises(ApiError, match=r"^401"):
            stranger.get("/v1/methods")
