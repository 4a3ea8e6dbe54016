"""The names in the agent's certificate, and which of them Ironic is given.

Ironic verifies the address that it calls, so no certificate can be made before that address is known. Without
the address Ironic cannot use the machine at all, so the wait has no limit.
"""

import time
from collections.abc import Callable, Iterable

from agent_router.conductor import addresses
from agent_router.conductor.boot_parameters import BootParameters
from agent_router.ramdisk import identity
from agent_router.ramdisk.network import global_addresses

PATIENCE_S = 10.0  # after that, the console says what is missing
OTHERS_PATIENCE_S = 8.0  # for a route to the second URL once there is one to the first
REPEAT_S = 1.0


def wait(parameters: BootParameters, tell: Callable[[str], None], patience_s: float = PATIENCE_S) -> list[str]:
    """Every name that Ironic may call this machine by, including at least one address; waits without limit.

    `tell` gets a sentence for the console, or "" where the console knows better (there is no address at all).
    """
    late, told = time.monotonic() + patience_s, None
    while True:
        found, missing = called_by(parameters)
        present = global_addresses.present()
        names = list(dict.fromkeys([*found, *present]))
        if found and any(map(identity.is_address, names)):
            break
        news = missing if present else ""
        if time.monotonic() > late and news != told:
            told = news
            tell(news)
        time.sleep(global_addresses.INTERVAL_S if time.monotonic() < late else REPEAT_S)
    return _with_others(parameters, names) if missing else names


def _with_others(parameters: BootParameters, names: list[str]) -> list[str]:
    """Ironic may have an IPv4 and an IPv6 address, and this machine gets its own one after the other."""
    give_up, missing = time.monotonic() + OTHERS_PATIENCE_S, "the routes to the others"
    while missing and time.monotonic() < give_up:
        time.sleep(global_addresses.INTERVAL_S)
        found, missing = called_by(parameters)
        names = list(dict.fromkeys([*names, *found, *global_addresses.present()]))
    return names


def called_by(parameters: BootParameters) -> tuple[list[str], str]:
    """(names that Ironic will call this agent by, a sentence if one of Ironic's URLs has no route yet)."""
    if parameters.advertise:
        return [parameters.advertise], ""
    found, missing = [], ""
    for url in parameters.urls:
        try:
            found.append(addresses.source_address(url))
        except OSError as error:
            missing = missing or f"waiting for the network to Ironic at {url}: {error.strerror or error}"
    return found, missing


def advertised(urls: Iterable[str], cert: str) -> str:
    """The address for Ironic to call: the source address for the first URL whose address is in the certificate.

    OSError if no URL has a route.
    """
    known, last = identity.names_of(cert), OSError("no URL of Ironic's API is known")
    found = []
    for url in urls:
        try:
            found.append(addresses.source_address(url))
        except OSError as error:
            last = error
    for address in found:
        if address in known:
            return address
    if not found:
        raise last
    return found[0]
