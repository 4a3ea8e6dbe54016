"""The network cards of this machine, and the addresses that they were made with: Ironic knows them by these."""

import json
from pathlib import Path

NET = Path("/sys/class/net")
ETHERNET, INFINIBAND = "1", "32"  # linux/if_arp.h
# Drivers of networks over USB, which is how a BMC reaches its host.
USB_DRIVERS = {"cdc_eem", "cdc_ether", "cdc_ncm", "cdc_subset", "rndis_host"}
LOCALLY_ADMINISTERED = 0x02  # IEEE 802, in the first octet


def cards(net: Path = NET) -> list[str]:
    """Names of the Ethernet and InfiniBand interfaces that have a device, sorted, without those of the BMC."""
    every = sorted(path.name for path in net.iterdir()) if net.is_dir() else []
    real = [name for name in every if (net / name / "device").exists() and kind(net / name) in (ETHERNET, INFINIBAND)]
    return [name for name in real if not is_of_bmc(net / name)] or real


def kind(interface: Path) -> str:
    return _read(interface / "type")


def is_of_bmc(interface: Path) -> bool:
    """Whether this is the BMC's network over USB: its address is locally administered, often one for a whole series.

    That alone is no sign: virtual machines have such addresses too.
    """
    first = _read(interface / "address")[:2]
    if kind(interface) != ETHERNET or not first or not int(first, 16) & LOCALLY_ADMINISTERED:
        return False
    device = interface / "device"
    on_usb = any(part.startswith("usb") for part in device.resolve().parts)
    return on_usb or interface.name.startswith(("enx", "usb")) or (device / "driver").resolve().name in USB_DRIVERS


def own_address(interface: Path, permanent: dict[str, str]) -> str:
    """The address a card was made with: members of a bond show the bond's. `permanent` is of permanent_addresses()."""
    told = _read(interface / "bonding_slave/perm_hwaddr") or permanent.get(interface.name, "")
    return told if told.replace(":", "").strip("0") else _read(interface / "address")


def permanent_addresses(text: str) -> dict[str, str]:
    """By interface name, where they differ from the present ones; from `ip -j link` or `ip -j addr`."""
    try:
        links = json.loads(text)
    except ValueError:
        return {}
    return {link["ifname"]: link["permaddr"] for link in links if "ifname" in link and "permaddr" in link}


def _read(file: Path) -> str:
    try:
        return file.read_text().strip().lower()
    except OSError:
        return ""
