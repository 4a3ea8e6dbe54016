"""`interfaces` of the inventory: network interfaces from sysfs, addresses from ip(8)."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from agent_router.hardware.probe import ask
from agent_router.ramdisk.network import cards
from agent_router.storage.blockdev import SYS, read

MELLANOX = "0x15b3"
# RFC 4390: DHCP client id over InfiniBand; type and prefix as sent by Mellanox PXE firmware.
CLIENT_ID_PREFIX = "ff:00:00:00:00:00:02:00:00:02:c9:00:"
VIRTUAL = re.compile(r"^DEVTYPE=(bond|vlan)$", re.MULTILINE)
PCI_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def interfaces(sys: Path = SYS) -> list[dict[str, Any]]:
    """The network cards, and bonds and VLANs on them; if there are none (a container), all Ethernet interfaces."""
    text = ask("ip", "-j", "addr") or "[]"
    addresses, permanent = parse_addresses(text), cards.permanent_addresses(text)
    named = shutil.which("biosdevname") is not None
    return [_describe(name, addresses.get(name, []), permanent, named, sys) for name in choose(sys)]


def choose(sys: Path = SYS) -> list[str]:
    """Names of these interfaces, sorted."""
    directory = sys / "class/net"
    every = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    virtual = [name for name in every if VIRTUAL.search(read(directory / name / "uevent") or "")]
    wired = [name for name in every if cards.kind(directory / name) in (cards.ETHERNET, cards.INFINIBAND)]
    return sorted([*cards.cards(directory), *virtual] or wired)


def parse_addresses(text: str) -> dict[str, list[dict[str, Any]]]:
    """Addresses by interface name, from `ip -j addr`; {} if it is not JSON."""
    try:
        links = json.loads(text)
    except ValueError:
        return {}
    return {link["ifname"]: link.get("addr_info", []) for link in links if "ifname" in link}


def pick_address(addresses: list[dict[str, Any]], family: str) -> str | None:
    """One address of the family ("inet", "inet6") without prefix length; global before link-local."""
    found = [address for address in addresses if address.get("family") == family]
    found.sort(key=lambda address: address.get("scope") != "global")
    return found[0].get("local") if found else None


def _describe(
    name: str, addresses: list[dict[str, Any]], permanent: dict[str, str], named: bool, sys: Path
) -> dict[str, Any]:
    directory = sys / "class/net" / name
    device = directory / "device"
    vendor = read(device / "vendor")
    mac, client_id = hardware_address(cards.own_address(directory, permanent), vendor)
    return {
        "name": name,
        "mac_address": mac,
        "ipv4_address": pick_address(addresses, "inet"),
        "ipv6_address": pick_address(addresses, "inet6"),
        "has_carrier": read(directory / "carrier") == "1",  # unreadable while the interface is down
        "lldp": None,
        "vendor": vendor,
        "product": read(device / "device"),
        "client_id": client_id,
        "biosdevname": (ask("biosdevname", "-i", name, limit_s=5) or "").strip() or None if named else None,
        "speed_mbps": speed(read(directory / "speed")),
        "pci_address": pci_address(device),
        "driver": (device / "driver").resolve().name if (device / "driver").exists() else None,
    }


def hardware_address(address: str, vendor: str | None) -> tuple[str, str | None]:
    """(MAC, DHCP client id). InfiniBand's 20 bytes end in a GUID, whose outer bytes are the port's MAC."""
    octets = address.split(":")
    if len(octets) != 20:
        return address, None
    guid = octets[12:]
    client_id = CLIENT_ID_PREFIX + ":".join(guid) if vendor == MELLANOX else None
    return ":".join(guid[:3] + guid[5:]), client_id


def speed(text: str | None) -> int | None:
    """Mbit/s; drivers report -1 without a link."""
    return int(text) if text and text.isdigit() else None


def pci_address(device: Path) -> str | None:
    """Of the nearest PCI ancestor: between it and a virtio interface is a virtio device."""
    parts = device.resolve().parts
    return next((part for part in reversed(parts) if PCI_ADDRESS.fullmatch(part)), None)
