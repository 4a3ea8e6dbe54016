"""hardware.inventory is compared with what the machine was built of, not with what its own tools say."""

from typing import Any

import pytest
from machine_parts import MIB

from tests.support.rack import Guest


@pytest.fixture
def inventory(guest: Guest) -> dict[str, Any]:
    # Once per machine: it takes seconds in an emulated one.
    if not hasattr(guest.machine, "inventory"):
        guest.machine.inventory = guest.api.call("hardware.inventory")
    return guest.machine.inventory


def test_disks_are_those_that_were_built_in(guest: Guest, inventory: dict[str, Any]):
    found = {disk["serial"]: disk for disk in inventory["disks"]}
    sticks = {f"STICK-{index}" for index in range(len(guest.machine.sticks))}
    assert set(found) == {disk.serial for disk in guest.machine.disks} | sticks
    for disk in guest.machine.disks:
        one = found[disk.serial]
        assert one["size"] == disk.size, disk
        # lsblk of Debian 12 has no word for virtio, but the path through the buses is not virtio's alone.
        assert one["tran"] == {"virtio": None}.get(disk.bus, disk.bus), disk
        assert {"virtio": "/dev/vd", "nvme": "/dev/nvme", "sata": "/dev/sd"}[disk.bus] in one["name"]
    assert all(found[stick]["tran"] == "usb" for stick in sticks)


def test_interfaces_are_those_that_were_built_in(guest: Guest, inventory: dict[str, Any]):
    found = {interface["mac_address"]: interface for interface in inventory["interfaces"]}
    assert set(found) == {nic.mac for nic in guest.machine.nics}
    for nic in guest.machine.nics:
        assert found[nic.mac]["driver"] == {"virtio-net-pci": "virtio_net"}.get(nic.model, nic.model)
        assert found[nic.mac]["has_carrier"] is True
    assert [found[nic.mac]["ipv4_address"] for nic in guest.machine.nics] == ["10.0.2.15", None, None]


def test_cpu_and_memory(guest: Guest, inventory: dict[str, Any]):
    assert inventory["cpu"]["count"] == guest.machine.cpus
    assert inventory["cpu"]["architecture"] == "x86_64"
    assert "QEMU" in inventory["cpu"]["model_name"]
    assert inventory["memory"]["physical_mb"] == guest.machine.memory_mib
    assert 0.8 < inventory["memory"]["total"] / (guest.machine.memory_mib * MIB) < 1


def test_bmc_is_found(guest: Guest, inventory: dict[str, Any]):
    """QEMU's BMC answers ipmitool, and has no network: an address of none, not no BMC."""
    assert "Device ID" in guest.shell("ipmitool mc info")
    assert inventory["bmc_address"] == "0.0.0.0"


def test_firmware_and_vendor(inventory: dict[str, Any]):
    assert inventory["boot"]["current_boot_mode"] == "bios"
    assert inventory["system_vendor"]["manufacturer"] == "QEMU"
    assert inventory["system_vendor"]["firmware"]["vendor"] == "SeaBIOS"


def test_system_info_and_nvme_list_agree(guest: Guest, inventory: dict[str, Any]):
    assert guest.api.call("system.info")
    text = str(guest.api.call("nvme.list"))
    assert "NVME-ONE" in text
    assert "SATA-ONE" not in text


def test_the_console_names_the_version_and_the_address(guest: Guest):
    assert guest.machine.ready is not None
    assert guest.machine.ready.version == guest.api.get("/v1/status")["version"]
    assert "https://10.0.2.15:9999/" in guest.machine.ready.urls
