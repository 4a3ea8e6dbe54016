"""The links of an OpenStack network_data.json: cards by MAC, bonds, VLANs; and the `ip` arguments that make them."""

import re
from collections.abc import Mapping
from typing import Any

Argv = list[str]
Record = dict[str, Any]

# The types of ports (VIFs) that Nova hands out: on bare metal each of them is a card of the machine.
ETHERNET = {
    "phy", "vif", "ethernet", "ovs", "bridge", "tap", "dvs", "hw_veb", "hyperv", "vhostuser", "vhost_user",
    "macvtap", "hostdev_physical", "ovn", "other", "bgpovs", "cascading", "agilio_ovs", "midonet", "iovisor",
    "ivs", "vrouter", "802.1qbg", "802.1qbh", "unbound",
}  # fmt: skip
# Numbers as in the kernel's Documentation/networking/bonding.rst; Ironic's schema misspells 802.3ad.
MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
MODE_OF = {"802.1ad": "802.3ad", **{mode: mode for mode in MODES}, **{str(n): mode for n, mode in enumerate(MODES)}}
# Of ip-link(8); in the document each has the prefix bond_.
BOND_OPTIONS = {
    "miimon", "updelay", "downdelay", "use_carrier", "arp_interval", "arp_validate", "arp_all_targets",
    "arp_ip_target", "primary_reselect", "fail_over_mac", "xmit_hash_policy", "resend_igmp", "num_grat_arp",
    "num_unsol_na", "all_slaves_active", "min_links", "lp_interval", "packets_per_slave", "tlb_dynamic_lb",
    "lacp_rate", "lacp_active", "ad_select", "ad_user_port_key", "ad_actor_sys_prio", "ad_actor_system",
}  # fmt: skip
# Numbers that the kernel module takes and ip(8) does not.
LACP_RATES = {"0": "slow", "1": "fast"}
MTU_MIN, MTU_MAX = 68, 65535  # RFC 791; Nova's schema


class Refused(Exception):
    """Says why a link or a network is left out, and what helps."""


class Interface:
    """What has to be done for one link; the order of work is make, tune, addresses, routes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.make: list[Argv] = []  # without these nothing else works
        self.tune: list[Argv] = []
        self.addresses: list[Argv] = []
        self.routes: list[Argv] = []
        self.parent = ""  # of a VLAN
        self.master = ""  # the bond that it is a member of
        self.dhcp: set[str] = set()  # see network_plan.DHCP
        self.wanted = False  # a network of the document lies on it


class Links:
    """`present`: names of the interfaces of this machine by MAC, in lower case with colons."""

    def __init__(self, document: Record, present: Mapping[str, str], problems: list[str]) -> None:
        self.present = present
        self.problems = problems
        self.interfaces: dict[str, Interface] = {}  # by name; what others stand on comes first
        self._done: dict[str, Interface | None] = {}  # by link id; None: left out, and said so
        self._records: dict[str, Record] = {}
        for number, link in enumerate(records(document, "links", problems)):
            self._records.setdefault(str(link.get("id", number)), link)
        for id_ in self._records:
            self.by_id(id_)

    def by_id(self, id_: str) -> Interface | None:
        """None, after a sentence in `problems`, if there is no such link or it cannot be made."""
        if id_ not in self._done:
            self._done[id_] = None  # so that a VLAN on itself finds nothing
            try:
                found = self._make(self._records.get(id_), f"Link {id_}")
                self._done[id_] = self.interfaces.setdefault(found.name, found)
            except Refused as refused:
                self.problems.append(str(refused))
        return self._done[id_]

    def _make(self, link: Record | None, label: str) -> Interface:
        if link is None:
            raise Refused(f'{label} is mentioned but is not among the "links"; add it there, or correct the id')
        found = {"bond": self._bond, "vlan": self._vlan}.get(str(link.get("type")), self._card)(link, label)
        if (mtu := link.get("mtu")) is not None:
            size = number(mtu, MTU_MIN, MTU_MAX)
            if size is None:
                self.problems.append(f"{label} has the mtu {mtu!r}, no number from {MTU_MIN} to {MTU_MAX}; left alone")
            else:
                found.tune.append(["link", "set", "dev", found.name, "mtu", str(size)])
        found.tune.append(["link", "set", "dev", found.name, "up"])
        return found

    def _card(self, link: Record, label: str) -> Interface:
        given = link.get("ethernet_mac_address")
        mac = mac_address(given)
        if not mac:
            raise Refused(f"{label} has the ethernet_mac_address {given!r}, which is none; correct it")
        if mac not in self.present:
            here = ", ".join(f"{name} {mac}" for mac, name in self.present.items()) or "none at all"
            raise Refused(
                f"{label} names the MAC {mac}, but the interfaces here are {here}; correct the network data, "
                "or see why the kernel finds no such card"
            )
        if link.get("type") not in ETHERNET:
            self.problems.append(f"{label} is of the unknown type {link.get('type')!r}; taken for an Ethernet card")
        return Interface(self.present[mac])

    def _bond(self, link: Record, label: str) -> Interface:
        mode = MODE_OF.get(str(link.get("bond_mode")))
        if mode is None:
            raise Refused(f"{label} has the bond_mode {link.get('bond_mode')!r}; known are {', '.join(MODES)}")
        ids = link.get("bond_links")
        members = [found for id_ in ids if (found := self.by_id(str(id_)))] if isinstance(ids, list) else []
        if not members:
            raise Refused(f"{label} has no usable member; bond_links must list the ids of other links")
        id_ = str(link.get("id"))
        bond = Interface(self._free(id_ if re.fullmatch(r"bond[\w.-]{1,11}", id_) else "bond0", "bond"))
        mac = mac_address(link.get("ethernet_mac_address"))
        bond.make.append(["link", "add", "name", bond.name, *(["address", mac] if mac else []),
                          "type", "bond", "mode", mode, *self._bond_options(link, label)])  # fmt: skip
        for member in members:
            member.master = bond.name
            # The kernel takes in no member that is up.
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
                self.problems.append(f"{label} has the unknown bond option bond_{key}={value!r}; it is left out")
        if not {"miimon", "arp_interval"} & options.keys():
            options["miimon"] = "100"  # ms; the kernel's own default is not to look at the carrier at all
        return [word for option in options.items() for word in option]

    def _vlan(self, link: Record, label: str) -> Interface:
        id_ = number(link.get("vlan_id"), 1, 4094)
        if id_ is None:
            raise Refused(f"{label} has the vlan_id {link.get('vlan_id')!r}, not a number from 1 to 4094; correct it")
        parent = self.by_id(str(link.get("vlan_link")))
        if parent is None:
            raise Refused(f"{label} stands on link {link.get('vlan_link')}, which cannot be used, so it is left out")
        vlan = Interface(self._free(f"{parent.name}.{id_}", f"vlan{id_}x"))
        vlan.parent = parent.name
        mac = mac_address(link.get("vlan_mac_address"))
        vlan.make.append(["link", "add", "link", parent.name, "name", vlan.name, *(["address", mac] if mac else []),
                          "type", "vlan", "id", str(id_)])  # fmt: skip
        return vlan

    def _free(self, name: str, stem: str) -> str:
        """`name`, or one that starts with `stem` if it is taken or longer than the kernel allows (15)."""
        taken = {*self.present.values(), *self.interfaces}
        names = (name, *(f"{stem}{n}" for n in range(len(taken) + 1)))
        return next(free for free in names if free not in taken and len(free) <= 15)


def records(container: Record, key: str, problems: list[str]) -> list[Record]:
    """The list of objects at `key`; whatever else is there becomes a problem."""
    value = container.get(key)
    if value is not None and not isinstance(value, list):
        problems.append(f'"{key}" is {kind(value)} where a list of objects belongs; it is left out')
    found = value if isinstance(value, list) else []
    strange = [entry for entry in found if not isinstance(entry, dict)]
    problems += [f'"{key}" holds {kind(entry)} where an object belongs; it is left out' for entry in strange]
    return [entry for entry in found if isinstance(entry, dict)]


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def mac_address(value: Any) -> str:
    """In lower case with colons; "" if it is none."""
    text = value.lower().replace("-", ":") if isinstance(value, str) else ""
    return text if re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", text) else ""


def number(value: Any, low: int, high: int) -> int | None:
    """Also of a string of digits; None if it is none, or outside of the limits."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and low <= value <= high else None
