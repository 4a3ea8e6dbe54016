"""The ramdisk with its lean init on a UEFI machine without BMC, with one disk and a static address."""

import pytest

from tests.support.guest_processes import ROLES, kill, processes, wait_for_new
from tests.support.rack import STATIC_ADDRESS, Guest, collected


def test_inventory_of_this_machine(uefi_guest: Guest):
    inventory = uefi_guest.api.call("hardware.inventory")
    assert inventory["boot"]["current_boot_mode"] == "uefi"
    assert inventory["bmc_address"] is None
    assert [disk["serial"] for disk in inventory["disks"]] == ["VIRTIO-ONE"]
    assert inventory["interfaces"][0]["ipv4_address"] == STATIC_ADDRESS


def test_the_address_is_static(uefi_guest: Guest):
    ready = uefi_guest.machine.ready
    assert ready is not None
    assert f"https://{STATIC_ADDRESS}:9999/" in ready.urls
    addresses = uefi_guest.shell("ip -4 -oneline address show scope global")
    assert f"{STATIC_ADDRESS}/24" in addresses
    assert "10.0.2.15" not in addresses, "DHCP on an interface that has static data"
    assert "default via 10.0.2.2" in uefi_guest.shell("ip route")
    assert "10.0.2.3" in uefi_guest.shell("cat /etc/resolv.conf")


def test_boot_entries_can_be_read(uefi_guest: Guest):
    assert "BootOrder" in uefi_guest.shell("efibootmgr")


def test_disks_and_logs_with_the_lean_init(uefi_guest: Guest):
    """It has no journal; the logs are files."""
    assert uefi_guest.shell("cat /proc/1/comm") != "systemd"
    device = uefi_guest.device("VIRTIO-ONE")
    uefi_guest.shell(f"mkfs.ext4 -q -F {device}")
    assert uefi_guest.api.call("disk.wipe", device=device) == {"wiped": ["ext4"]}
    files = collected(uefi_guest)
    assert b"Linux version" in files["dmesg"]
    assert files["agent/agent.log"]


@pytest.mark.parametrize("victims", [("runner",), ROLES], ids="+".join)
def test_the_agent_is_started_again(uefi_guest: Guest, victims: tuple[str, ...]):
    before = processes(uefi_guest)
    kill(uefi_guest, victims, before)
    wait_for_new(uefi_guest, victims, before)
    assert uefi_guest.api.call("disk.list")["disks"]
