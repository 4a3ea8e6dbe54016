"""Before inspection: wait until the interfaces have their addresses, which are part of the inventory.

Set by ipa-inspection-dhcp-wait-timeout (60 s; 0 does not wait) for the interface that was booted from, with
ipa-inspection-dhcp-all-interfaces for every interface that has carrier.
"""

import time
from collections.abc import Callable
from pathlib import Path

from agent_router.conductor.boot_parameters import BootParameters
from agent_router.hardware.default_collector import mac
from agent_router.ramdisk.network import global_addresses
from agent_router.ramdisk.network.cards import NET


def wait(parameters: BootParameters, say: Callable[[str], None], net: Path = NET) -> None:
    """Return as soon as all have an address, or when the time is up."""
    give_up = time.monotonic() + parameters.dhcp_wait_s
    wanted = None if parameters.dhcp_all else mac(parameters.boot_mac)
    if wanted is None and not parameters.dhcp_all:
        return  # the boot interface is unknown
    while missing := sorted(with_carrier(wanted, net) - global_addresses.interfaces()):
        if time.monotonic() >= give_up:
            if parameters.dhcp_wait_s:
                say(f"ironic: inspecting without an address on {', '.join(missing)}")
            return
        time.sleep(global_addresses.INTERVAL_S)


def with_carrier(address: str | None, net: Path) -> set[str]:
    """Physical interfaces that have carrier and are not in a bond or bridge; with `address`, only that one."""
    found = set()
    for interface in net.iterdir():
        try:
            carrier, own = ((interface / name).read_text().strip() for name in ("carrier", "address"))
        except OSError:
            continue  # the carrier of an interface that is down cannot be read
        physical = (interface / "device").exists() and not (interface / "master").exists()
        if physical and carrier == "1" and address in {None, own.lower()}:
            found.add(interface.name)
    return found
