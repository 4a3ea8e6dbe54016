"""The links of an OpenStack network_data.json (NICs by MAC, bonds, VLANs), and the `ip` arguments that create them."""

import re
from collections.abc import Mapping
from typing import Any

Argv = list[str]
Record = dict[str, Any]

# The types of ports (VIFs) that Nova hands out: on bare metal each of them is a NIC.
ETHERNET = {
    "phy", "vif", "ethernet", "ovs", "bridge", "tap", "dvs", "hw_veb", "hyperv", "vhostuser", "vhost_user",
    "macvtap", "hostdev_physical", "ovn", "other", "bgpovs", "cascading", "agilio_ovs", "midonet", "iovisor",
    "ivs", "vrouter", "802.1qbg", "802.1qbh", "unbound",
}  # fmt: skip
# Numbers as in the kernel's Documentation/networking/bonding.rst; Ironic's schema misspells 802.3ad.
MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
MODE_OF = {"802.1ad": "802.3ad", **{mode: mode for mode in MODES}, **{str(n): mode for n, mode in enumerate(MODES)}}
# From ip-link(8); in the document each has the prefix bond_.
BOND_OPTIONS = {
    "miimon", "updelay", "downdelay", "use_carrier", "arp_interval", "arp_validate", "arp_all_targets",
    "arp_ip_target", "primary_reselect", "fail_over_mac", "xmit_hash_policy", "resend_igmp", "num_grat_arp",
    "num_unsol_na", "all_slaves_active", "min_links", "lp_interval", "packets_per_slave", "tlb_dynamic_lb",
    "lacp_rate", "lacp_active", "ad_select", "ad_user_port_key", "ad_actor_sys_prio", "ad_actor_system",
}  # fmt: skip
# Numbers that the kernel module accepts and ip(8) does not.
LACP_RATES = {"0": "slow", "1": "fast"}
MTU_MIN, MTU_MAX = 68, 65535  # RFC 791; Nova's schema


class Unusable(Exception):
    """Why a link or a network is skipped, and what to correct."""


class Interface:
    """What to run for one link, in this order: make, tune, addresses, routes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.make: list[Argv] = []  # the rest depends on these
        self.tune: list[Argv] = []
        self.addresses: list[Argv] = []
        self.routes: list[Argv] = []
        self.parent = ""  # of a VLAN
        self.master = ""  # the bond that it belongs to
        self.dhcp: set[str] = set()  # see plan.DHCP
        self.wanted = False  # a network of the document uses it


class Links:
    """`present`: names of the interfaces of this machine by MAC, in lower case with colons."""

    def __init__(self, document: Record, present: Mapping[str, str], problems: list[str]) -> None:
        self.present = present
        self.problems = problems
        self.interfaces: dict[str, Interface] = {}  # by name; parents before children
        self._done: dict[str, Interface | None] = {}  # by link id; None: skipped and reported
        self._records: dict[str, Record] = {}
        for number, link in enumerate(records(document, "links", problems)):
            self._records.setdefault(str(link.get("id", number)), link)
        for id_ in self._records:
            self.by_id(id_)

    def by_id(self, id_: str) -> Interface | None:
        """None, with a sentence in `problems`, if there is no such link or it cannot be created."""
        if id_ not in self._done:
            self._done[id_] = None  # so that a VLAN on itself ends here
            try:
                found = self._make(self._records.get(id_), f"Link {id_}")
                self._done[id_] = self.interfaces.setdefault(found.name, found)
            except Unusable as reason:
                self.problems.append(str(reason))
        return self._done[id_]

    def _make(self, link: Record | None, label: str) -> Interface:
        if link is None:
            raise Unusable(f'{label} is referenced but not listed in "links"; add it there, or correct the id')
        found = {"bond": self._bond, "vlan": self._vlan}.get(str(link.get("type")), self._nic)(link, label)
        if (mtu := link.get("mtu")) is not None:
            size = number(mtu, MTU_MIN, MTU_MAX)
            if size is None:
                self.problems.append(f"{label}: mtu {mtu!r} is not a number from {MTU_MIN} to {MTU_MAX}; ignored")
            else:
                found.tune.append(["link", "set", "dev", found.name, "mtu", str(size)])
        found.tune.append(["link", "set", "dev", found.name, "up"])
        return found

    def _nic(self, link: Record, label: str) -> Interface:
        given = link.get("ethernet_mac_address")
        mac = mac_address(given)
        if not mac:
            raise Unusable(f"{label}: ethernet_mac_address {given!r} is not a MAC address; correct it")
        if mac not in self.present:
            here = ", ".join(f"{name} {mac}" for mac, name in self.present.items()) or "none"
            raise Unusable(
                f"{label}: no interface has the MAC {mac} (present: {here}); correct the network data, "
                "or find out why the kernel does not see this NIC"
            )
        if link.get("type") not in ETHERNET:
            self.problems.append(f"{label}: unknown type {link.get('type')!r}; treated as an Ethernet NIC")
        return Interface(self.present[mac])

    def _bond(self, link: Record, label: str) -> Interface:
        mode = MODE_OF.get(str(link.get("bond_mode")))
        if mode is None:
            raise Unusable(f"{label}: unknown bond_mode {link.get('bond_mode')!r}; use one of {', '.join(MODES)}")
        ids = link.get("bond_links")
        members = [found for id_ in ids if (found := self.by_id(str(id_)))] if isinstance(ids, list) else []
        if not members:
            raise Unusable(f"{label} has no usable member; bond_links must list the ids of other links")
        id_ = str(link.get("id"))
        bond = Interface(self._free(id_ if re.fullmatch(r"bond[\w.-]{1,11}", id_) else "bond0", "bond"))
        mac = mac_address(link.get("ethernet_mac_address"))
        bond.make.append(["link", "add", "name", bond.name, *(["address", mac] if mac else []),
                          "type", "bond", "mode", mode, *self._bond_options(link, label)])  # fmt: skip
        for member in members:
            member.master = bond.name
            # The kernel does not accept a member that is up.
            bond.tune.append(["link", "set", "dev", member.name, "down"])
            bond.tune.append(["link", "set", "dev", member.name, "master", bond.name])
        primary = link.get("bond_primary")
        if primary is not None and (found := self.by_id(str(primary))):
            bond.tune.append(["link", "set", "dev", bond.name, "type", "bond", "primary", found.name])
        return bond

    def _bond_options(self, link: Record, label: str) -> Argv:
        given = {key[5:]: link[key] for key in link if key.startswith("bond_") and link[key] is not None}
        options = {}
        for key, value in given.items():
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()
            text = {"true": "1", "false": "0"}.get(text, text)
            if key in BOND_OPTIONS and re.fullmatch(r"[\w.,:+-]+", text):
                options[key] = LACP_RATES.get(text, text) if key == "lacp_rate" else text
            elif key not in ("mode", "links", "primary"):
                self.problems.append(f"{label}: unknown bond option bond_{key}={value!r}; ignored")
        if not {"miimon", "arp_interval"} & options.keys():
            options["miimon"] = "100"  # ms; by default the kernel does not monitor the carrier at all
        return [word for option in options.items() for word in option]

    def _vlan(self, link: Record, label: str) -> Interface:
        id_ = number(link.get("vlan_id"), 1, 4094)
        if id_ is None:
            raise Unusable(f"{label}: vlan_id {link.get('vlan_id')!r} is not a number from 1 to 4094; correct it")
        parent = self.by_id(str(link.get("vlan_link")))
        if parent is None:
            raise Unusable(f"{label} is skipped: its link {link.get('vlan_link')} cannot be used")
        vlan = Interface(self._free(f"{parent.name}.{id_}", f"vlan{id_}x"))
        vlan.parent = parent.name
        mac = mac_address(link.get("vlan_mac_address"))
        vlan.make.append(["link", "add", "link", parent.name, "name", vlan.name, *(["address", mac] if mac else []),
                          "type", "vlan", "id", str(id_)])  # fmt: skip
        return vlan

    def _free(self, name: str, stem: str) -> str:
        """`name`, or one starting with `stem` if it is taken or longer than the kernel allows (15)."""
        taken = {*self.present.values(), *self.interfaces}
        names = (name, *(f"{stem}{n}" for n in range(len(taken) + 1)))
        return next(free for free in names if free not in taken and len(free) <= 15)


def records(container: Record, key: str, problems: list[str]) -> list[Record]:
    """The list of objects at `key`; anything else there becomes a problem."""
    value = container.get(key)
    if value is not None and not isinstance(value, list):
        problems.append(f'"{key}" is {kind(value)}, not a list of objects; ignored')
    found = value if isinstance(value, list) else []
    strange = [entry for entry in found if not isinstance(entry, dict)]
    problems += [f'"{key}" contains {kind(entry)}, not an object; ignored' for entry in strange]
    return [entry for entry in found if isinstance(entry, dict)]


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def mac_address(value: Any) -> str:
    """In lower case with colons; "" if it is not a MAC address."""
    text = value.lower().replace("-", ":") if isinstance(value, str) else ""
    return text if re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", text) else ""


def number(value: Any, low: int, high: int) -> int | None:
    """The number, also from a string of digits; None if it is not a number or out of range."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and low <= value <= high else None
