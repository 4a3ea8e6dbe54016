"""Network data of a config drive, small documents and captured ones, and what a plan makes of them."""

import json
from pathlib import Path
from typing import Any

from agent_router.ramdisk.network.plan import NetworkPlan

DATA = Path(__file__).resolve().parents[1] / "data/network_data"
MAC = "52:54:00:00:00:0{}"
PRESENT = {MAC.format(n): f"eth{n}" for n in (1, 2, 3)}
CARD = {"id": "l", "type": "phy", "ethernet_mac_address": MAC.format(1)}
STATIC = {"id": "n", "type": "ipv4", "link": "l", "ip_address": "192.0.2.10", "netmask": "255.255.255.0"}
GOOD = {"id": "g", "type": "phy", "ethernet_mac_address": MAC.format(2)}
GOOD_NET = {**STATIC, "id": "ok", "link": "g", "ip_address": "203.0.113.5"}


def captured(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def document(links: Any = (CARD,), networks: Any = (STATIC,), services: Any = ()) -> dict[str, list[Any]]:
    return {"links": [*links], "networks": [*networks], "services": [*services]}


def commands(made: NetworkPlan) -> list[str]:
    """One string for each run of ip, in the order of work."""
    groups = ((i.make, i.tune, i.addresses, i.routes) for i in made.interfaces)
    return [" ".join(argv) for group in groups for argvs in group for argv in argvs]


def work(made: NetworkPlan, interface: str) -> list[str]:
    return [line for line in commands(made) if interface in line.split()]
