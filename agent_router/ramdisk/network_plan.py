"""What an OpenStack network_data.json asks for: arguments of `ip`, DNS servers, lines for dhcpcd. Does nothing itself.

Format: network_data.json of Nova (doc/api_schemas), Ironic's network-data-schema.json, what both hand out beyond it.
What is wrong becomes a sentence in `problems`; everything that does not depend on it is planned all the same.
"""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from agent_router.ramdisk.network_links import Argv, Interface, Links, Record, Refused, kind, mac_address, records

# Type of network: what dhcpcd does for it. ra: heed router advertisements; na: ask for an address even without one.
DHCP = {
    "ipv4_dhcp": {"4"},
    "ipv6_slaac": {"ra"},
    "ipv6_dhcpv6-stateless": {"ra"},
    "ipv6_dhcp": {"ra", "na"},
    "ipv6_dhcpv6-stateful": {"ra", "na"},
}
# dhcpcd's metrics begin at 1000: what somebody wrote down wins.
FIRST_METRIC = 100


class Plan:
    def __init__(self) -> None:
        self.interfaces: list[Interface] = []  # what others stand on comes first
        self.nameservers: list[str] = []
        self.problems: list[str] = []

    def works(self, released: Collection[str] = ()) -> bool:
        """Some interface gets an address as the document says."""
        return any((found.addresses or found.dhcp) and found.name not in released for found in self.interfaces)


def plan(document: Any, present: Mapping[str, str]) -> Plan:
    """`present`: names of the interfaces of this machine by MAC, in lower case with colons."""
    made = Plan()
    if not isinstance(document, dict):
        made.problems.append(f"The network data are {kind(document)}, not an object with links, networks and services")
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
            except Refused as refused:
                made.problems.append(str(refused))
                continue
            metric = _routes(network, routes, interface, label, metric, made.problems)
        else:
            made.problems.append(f"{label} is left out, because its link {network.get('link')} cannot be used")
    made.nameservers = list(dict.fromkeys(address for holder in services for address in _dns(holder, made.problems)))
    if not made.works():
        made.problems.append("No network of the network data can be set up")
    return made


def macs(document: Any) -> set[str]:
    """Of all the cards that the document names, as far as it can be understood."""
    links = records(document, "links", []) if isinstance(document, dict) else []
    cards = (link for link in links if link.get("type") not in ("bond", "vlan"))
    return {mac for card in cards if (mac := mac_address(card.get("ethernet_mac_address")))}


def dhcpcd_lines(made: Plan, released: Collection[str] = ()) -> list[str]:
    """For dhcpcd.conf. `released`: interfaces that could not be set up as planned, so that they get all of DHCP."""
    ours = [found for found in made.interfaces if found.name not in released]
    # An interface without a network has none on purpose; one whose network had to be left out gets DHCP.
    denied = [found.name for found in ours if not found.dhcp and (found.master or found.addresses or not found.wanted)]
    lines = [f"denyinterfaces {' '.join(denied)}"] if denied else []
    for found in ours:
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
            problems.append(f"The DNS server {address!r} is not an IP address; it is left out")


def _network(network: Record, interface: Interface, label: str) -> None:
    if interface.master:
        raise Refused(f"{label} lies on {interface.name}, a member of {interface.master}; name the bond as its link")
    interface.wanted = True
    type_ = str(network.get("type")).replace("_state", "-state")  # dhcpv6_stateful, as glean and others write it
    if type_ in DHCP:
        interface.dhcp |= DHCP[type_]
    elif type_ in ("ipv4", "ipv6"):
        family = int(type_[-1])
        address = _address(network, family, label)
        # The kernel gives none by itself, and multicast of images begins with a broadcast.
        broadcast = ["broadcast", "+"] if family == 4 else []
        interface.addresses.append(
            [f"-{family}", "address", "replace", str(address), *broadcast, "dev", interface.name]
        )
    else:
        known = ", ".join(["ipv4", "ipv6", *DHCP])
        raise Refused(f"{label} is of the unknown type {network.get('type')!r}; known are {known}")


def _address(network: Record, family: int, label: str) -> IPv4Interface | IPv6Interface:
    text = str(network.get("ip_address"))
    if "/" not in text and network.get("netmask") is None:
        raise Refused(f"{label} has the address {text} and no netmask; add netmask, or its length to the address")
    try:
        found = ip_interface(_with_length(text, network.get("netmask")))
    except ValueError as error:
        raise Refused(f"{label} has no usable ip_address and netmask: {error}; correct them") from None
    if found.version != family:
        raise Refused(f"{label} is of type ipv{family} and has the address {text}; correct one of them")
    return found


def _with_length(address: str, mask: Any) -> str:
    """address/length. The mask may be dotted, a number, or IPv6 with colons, which ipaddress does not take."""
    if "/" in address or mask is None:
        return address
    if isinstance(mask, str) and ":" in mask:
        bits = f"{int(ip_address(mask)):0128b}"
        if "01" in bits:
            raise ValueError(f"{mask} is no netmask")
        mask = bits.count("1")
    return f"{address}/{mask}"


def _routes(
    network: Record, routes: list[Record], interface: Interface, label: str, metric: int, problems: list[str]
) -> int:
    """Those of one static network, each with a metric of its own; gives the next free metric."""
    if str(network.get("type")) not in ("ipv4", "ipv6"):
        return metric
    if network.get("gateway"):
        routes = [{"gateway": network["gateway"]}, *routes]
    for route in routes:
        try:
            argv = _route(route, int(str(network["type"])[-1]), interface.name, label)
            interface.routes.append([*argv, "metric", str(metric)])
            metric += 1
        except Refused as refused:
            problems.append(str(refused))
    return metric


def _route(route: Record, family: int, name: str, label: str) -> Argv:
    target = str(route.get("network") or ("0.0.0.0/0" if family == 4 else "::/0"))
    gateway = route.get("gateway")
    try:
        to = ip_network(_with_length(target, route.get("netmask")), strict=False)
        via = ip_address(str(gateway)) if gateway else None
    except ValueError as error:
        raise Refused(f"{label} has a route to {target} that cannot be used: {error}; correct it") from None
    if to.version != family or (via and via.version != family):
        raise Refused(f"{label} is IPv{family} and has a route to {to} by {gateway}; move it elsewhere")
    # onlink: the gateway may lie outside of the network, as for an address of length 32.
    nexthop = ["via", str(via), "dev", name, "onlink"] if via else ["dev", name]
    return [f"-{family}", "route", "replace", str(to), *nexthop]
