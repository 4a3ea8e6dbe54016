"""What an OpenStack network_data.json asks for: arguments of `ip`, DNS servers, lines for dhcpcd. Changes nothing.

Format: Nova's network_data.json (doc/api_schemas), Ironic's network-data-schema.json, and what both emit beyond them.
Each error becomes a sentence in `problems`; everything that does not depend on it is still planned.
"""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from agent_router.ramdisk.network.links import Argv, Interface, Links, Record, Unusable, kind, mac_address, records

# Type of network: what dhcpcd does for it. ra: accept router advertisements; na: request an address even without one.
DHCP = {
    "ipv4_dhcp": {"4"},
    "ipv6_slaac": {"ra"},
    "ipv6_dhcpv6-stateless": {"ra"},
    "ipv6_dhcp": {"ra", "na"},
    "ipv6_dhcpv6-stateful": {"ra", "na"},
}
# dhcpcd's metrics begin at 1000: static routes win.
FIRST_METRIC = 100


class NetworkPlan:
    def __init__(self) -> None:
        self.interfaces: list[Interface] = []  # parents before children
        self.nameservers: list[str] = []
        self.problems: list[str] = []

    def works(self, released: Collection[str] = ()) -> bool:
        """At least one interface gets an address as specified."""
        return any((found.addresses or found.dhcp) and found.name not in released for found in self.interfaces)


def plan(document: Any, present: Mapping[str, str]) -> NetworkPlan:
    """`present`: names of the interfaces of this machine by MAC, in lower case with colons."""
    made = NetworkPlan()
    if not isinstance(document, dict):
        made.problems.append(f"The network data is {kind(document)}, not an object with links, networks and services")
        return made
    links = Links(document, present, made.problems)
    made.interfaces = list(links.interfaces.values())
    metric = FIRST_METRIC
    services = [document]
    for place, network in enumerate(records(document, "networks", made.problems)):
        label = f"Network {network.get('id', place)}"
        routes = records(network, "routes", made.problems)
        services += [network, *routes]
        if interface := links.by_id(str(network.get("link"))):
            try:
                _network(network, interface, label)
            except Unusable as reason:
                made.problems.append(str(reason))
                continue
            metric = _routes(network, routes, interface, label, metric, made.problems)
        else:
            made.problems.append(f"{label} is skipped: its link {network.get('link')} cannot be used")
    made.nameservers = list(dict.fromkeys(address for holder in services for address in _dns(holder, made.problems)))
    if not made.works():
        made.problems.append("No network in the network data can be set up")
    return made


def macs(document: Any) -> set[str]:
    """The MACs of all NICs in the document, as far as it can be parsed."""
    links = records(document, "links", []) if isinstance(document, dict) else []
    nics = (link for link in links if link.get("type") not in ("bond", "vlan"))
    return {mac for nic in nics if (mac := mac_address(nic.get("ethernet_mac_address")))}


def dhcpcd_lines(made: NetworkPlan, released: Collection[str] = ()) -> list[str]:
    """For dhcpcd.conf. `released`: interfaces that could not be set up as planned; these get full DHCP."""
    kept = [found for found in made.interfaces if found.name not in released]
    # An interface without a network has none on purpose; one whose network had to be skipped gets DHCP.
    denied = [found.name for found in kept if not found.dhcp and (found.master or found.addresses or not found.wanted)]
    lines = [f"denyinterfaces {' '.join(denied)}"] if denied else []
    for found in kept:
        if found.dhcp and not found.master:
            lines.append(f"interface {found.name}")
            lines += [] if "4" in found.dhcp else ["noipv4"]
            lines += [] if "ra" in found.dhcp else ["noipv6"]
            lines += ["ia_na"] if "na" in found.dhcp else []
    return lines


def _dns(holder: Record, problems: list[str]) -> Iterator[str]:
    plain = holder.get("dns_nameservers")
    addresses = list(plain) if isinstance(plain, list) else []
    addresses += [entry.get("address") for entry in records(holder, "services", problems) if entry.get("type") == "dns"]
    for address in addresses:
        try:
            yield str(ip_address(str(address)))
        except ValueError:
            problems.append(f"The DNS server {address!r} is not an IP address; ignored")


def _network(network: Record, interface: Interface, label: str) -> None:
    if interface.master:
        raise Unusable(f"{label} uses {interface.name}, a member of {interface.master}; name the bond as its link")
    interface.wanted = True
    type_ = str(network.get("type")).replace("_state", "-state")  # dhcpv6_stateful, as glean and others spell it
    if type_ in DHCP:
        interface.dhcp |= DHCP[type_]
    elif type_ in ("ipv4", "ipv6"):
        family = int(type_[-1])
        address = _address(network, family, label)
        # The kernel sets none by itself, and image multicast begins with a broadcast.
        broadcast = ["broadcast", "+"] if family == 4 else []
        interface.addresses.append(
            [f"-{family}", "address", "replace", str(address), *broadcast, "dev", interface.name]
        )
    else:
        known = ", ".join(["ipv4", "ipv6", *DHCP])
        raise Unusable(f"{label}: unknown type {network.get('type')!r}; use one of {known}")


def _address(network: Record, family: int, label: str) -> IPv4Interface | IPv6Interface:
    text = str(network.get("ip_address"))
    if "/" not in text and network.get("netmask") is None:
        raise Unusable(f"{label}: address {text} has no netmask; add netmask, or a prefix length to the address")
    try:
        found = ip_interface(_with_length(text, network.get("netmask")))
    except ValueError as error:
        raise Unusable(f"{label}: ip_address and netmask are not usable: {error}; correct them") from None
    if found.version != family:
        raise Unusable(f"{label} is of type ipv{family} but has the address {text}; correct one of them")
    return found


def _with_length(address: str, mask: Any) -> str:
    """address/length. The mask may be dotted, a number, or IPv6 with colons, which ipaddress does not accept."""
    if "/" in address or mask is None:
        return address
    if isinstance(mask, str) and ":" in mask:
        bits = f"{int(ip_address(mask)):0128b}"
        if "01" in bits:
            raise ValueError(f"{mask} is not a netmask")
        mask = bits.count("1")
    return f"{address}/{mask}"


def _routes(
    network: Record, routes: list[Record], interface: Interface, label: str, metric: int, problems: list[str]
) -> int:
    """The routes of one static network, each with its own metric; returns the next free metric."""
    if str(network.get("type")) not in ("ipv4", "ipv6"):
        return metric
    if network.get("gateway"):
        routes = [{"gateway": network["gateway"]}, *routes]
    for route in routes:
        try:
            argv = _route(route, int(str(network["type"])[-1]), interface.name, label)
            interface.routes.append([*argv, "metric", str(metric)])
            metric += 1
        except Unusable as reason:
            problems.append(str(reason))
    return metric


def _route(route: Record, family: int, name: str, label: str) -> Argv:
    target = str(route.get("network") or ("0.0.0.0/0" if family == 4 else "::/0"))
    gateway = route.get("gateway")
    try:
        to = ip_network(_with_length(target, route.get("netmask")), strict=False)
        via = ip_address(str(gateway)) if gateway else None
    except ValueError as error:
        raise Unusable(f"{label}: the route to {target} is not usable: {error}; correct it") from None
    if to.version != family or (via and via.version != family):
        raise Unusable(f"{label} is IPv{family} but has a route to {to} via {gateway}; move it elsewhere")
    # onlink: the gateway may be outside the network, as with a /32 address.
    nexthop = ["via", str(via), "dev", name, "onlink"] if via else ["dev", name]
    return [f"-{family}", "route", "replace", str(to), *nexthop]
