"""Before inspection: wait until the interfaces have their addresses, which are part of what is told.

By ipa-inspection-dhcp-wait-timeout (60 s; 0 is off) for the interface that was booted from, with
ipa-inspection-dhcp-all-interfaces for every one that has a link.
"""

import time
from collections.abc import Callable
from pathlib import Path

from agent_router.conductor.plan import Plan
from agent_router.conductor.reach import NET
from agent_router.hardware.inspection import mac
from agent_router.ramdisk import addresses


def wait(plan: Plan, say: Callable[[str], None], net: Path = NET) -> None:
    """As soon as all have one, or when the time is over."""
    give_up = time.monotonic() + plan.dhcp_wait_s
    wanted = None if plan.dhcp_all else mac(plan.boot_mac)
    if wanted is None and not plan.dhcp_all:
        return  # nobody told which interface it was
    while missing := sorted(linked(wanted, net) - addresses.interfaces()):
        if time.monotonic() >= give_up:
            if plan.dhcp_wait_s:
                say(f"ironic: inspection goes on without an address of {', '.join(missing)}")
            return
        time.sleep(addresses.INTERVAL_S)


def linked(address: str | None, net: Path) -> set[str]:
    """Physical interfaces that have a link and are no part of a bond or bridge; with `address` only that one."""
    found = set()
    for interface in net.iterdir():
        try:
            carrier, own = ((interface / name).read_text().strip() for name in ("carrier", "address"))
        except OSError:
            continue  # an interface that is down has no carrier to read
        physical = (interface / "device").exists() and not (interface / "master").exists()
        if physical and carrier == "1" and address in {None, own.lower()}:
            found.add(interface.name)
    return found
