"""The names in the agent's certificate, and which of them Ironic is told.

Ironic verifies the address that it calls. So there is no certificate before there is that address: without it the
machine is of no use to Ironic, however long it takes.
"""

import time
from collections.abc import Callable, Iterable

from agent_router.conductor import reach
from agent_router.conductor.plan import Plan
from agent_router.ramdisk import addresses, identity

PATIENCE_S = 10.0  # after that, the console tells what is missing
OTHERS_PATIENCE_S = 8.0  # for the way to the second URL, when that to the first is there
REPEAT_S = 1.0


def wait(plan: Plan, tell: Callable[[str], None], patience_s: float = PATIENCE_S) -> list[str]:
    """Every name that Ironic may call this machine by, with at least one address; waits for it without end.

    `tell` gets a sentence for the console, "" where the console knows better (there is no address at all).
    """
    late, told = time.monotonic() + patience_s, None
    while True:
        found, missing = called_by(plan)
        present = addresses.present()
        names = list(dict.fromkeys([*found, *present]))
        if found and any(map(identity.is_address, names)):
            break
        news = missing if present else ""
        if time.monotonic() > late and news != told:
            told = news
            tell(news)
        time.sleep(addresses.INTERVAL_S if time.monotonic() < late else REPEAT_S)
    return _with_others(plan, names) if missing else names


def _with_others(plan: Plan, names: list[str]) -> list[str]:
    """Ironic may have an IPv4 and an IPv6 address, and this machine gets its own one after the other."""
    give_up, missing = time.monotonic() + OTHERS_PATIENCE_S, "the ways to the others"
    while missing and time.monotonic() < give_up:
        time.sleep(addresses.INTERVAL_S)
        found, missing = called_by(plan)
        names = list(dict.fromkeys([*names, *found, *addresses.present()]))
    return names


def called_by(plan: Plan) -> tuple[list[str], str]:
    """(names by which Ironic will call this agent, a sentence if a URL of Ironic is without any)."""
    if plan.advertise:
        return [plan.advertise], ""
    found, missing = [], ""
    for url in plan.urls:
        try:
            found.append(reach.source_address(url))
        except OSError as error:
            missing = missing or f"waiting for the network to Ironic at {url}: {error.strerror or error}"
    return found, missing


def advertised(urls: Iterable[str], cert: str) -> str:
    """The address for Ironic to call: of the way to the first URL whose address stands in the certificate.

    OSError if there is no way to any of them.
    """
    known, last = identity.names_of(cert), OSError("no URL of Ironic's API is known")
    found = []
    for url in urls:
        try:
            found.append(reach.source_address(url))
        except OSError as error:
            last = error
    for address in found:
        if address in known:
            return address
    if not found:
        raise last
    return found[0]
