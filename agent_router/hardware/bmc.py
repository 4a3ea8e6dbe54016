"""Addresses of the BMC (management controller), by ipmitool through the kernel's IPMI device."""

import json
import os
import re
from pathlib import Path

from agent_router.hardware.probe import ask

# IPMI 2.0, table 6-1: channels 1 to 11 may be LAN.
CHANNELS = range(1, 12)
NO_IPV4, NO_IPV6, NO_MAC = "0.0.0.0", "::/0", "00:00:00:00:00:00"


def addresses(dev: Path = Path("/dev")) -> dict[str, str]:
    """Keys bmc_address, bmc_v6address, bmc_mac; {} without a working BMC, or if Ironic wants none of them.

    "0.0.0.0" and "::/0" mean that there is a BMC without such an address.
    """
    if not any((dev / name).exists() for name in ("ipmi0", "ipmi/0", "ipmidev/0")) or unwanted():
        return {}
    if ask("ipmitool", "mc", "info", limit_s=10) is None:
        return {}  # otherwise a dead BMC would cost the time limit once per channel
    found: dict[str, str] = {}
    for channel in CHANNELS:
        lan = parse_lan(_lan("lan", channel))
        found = found or lan  # a BMC that has IPv6 alone has a MAC all the same
        if lan.get("bmc_address", NO_IPV4) != NO_IPV4:
            found = lan
            break
    v6 = NO_IPV6
    for channel in CHANNELS:
        found_v6 = parse_lan6(_lan("lan6", channel))
        v6 = found_v6 if v6 == NO_IPV6 else v6
        if not is_local(found_v6):
            v6 = found_v6
            break
    return {"bmc_address": NO_IPV4, **found, "bmc_v6address": v6}


def unwanted() -> bool:
    """Whether Ironic said in the lookup that it knows the BMC already (agent_skip_bmc_detect)."""
    try:
        node = json.loads(Path(os.environ.get("AGENT_STATE_DIR") or "/nonexistent", "node.json").read_text())
        return bool(node["driver_internal_info"].get("agent_skip_bmc_detect"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _lan(kind: str, channel: int) -> str:
    # Most channels are not LAN channels and return an error.
    return ask("ipmitool", kind, "print", str(channel), limit_s=10, quiet=True) or ""


def parse_lan(text: str) -> dict[str, str]:
    """bmc_address and bmc_mac from `ipmitool lan print N`; {} if there are none."""
    fields = dict(re.findall(r"^(IP Address|MAC Address)\s*: (\S+)", text, re.MULTILINE))
    names = {"IP Address": "bmc_address", "MAC Address": "bmc_mac"}
    return {names[key]: value for key, value in fields.items() if value != NO_MAC}


def parse_lan6(text: str) -> str:
    """The best active address in `ipmitool lan6 print N`: global, then link-local; static, then dynamic; or "::/0"."""
    found = []
    for kind in ("Static", "Dynamic"):
        for block in re.findall(rf"^IPv6 {kind} Address \d+:\n((?:[ \t]+.*\n?)+)", text, re.MULTILINE):
            fields = dict(re.findall(r"^\s+(\S[^:]*?)\s*:[ \t]*(.*?)\s*$", block, re.MULTILINE))
            address: str = fields.get("Address", "").partition("/")[0]
            if address not in ("", "::") and fields.get("Status", "active") == "active":
                found.append(address)
    return min(found, key=is_local, default=NO_IPV6)


def is_local(address: str) -> bool:
    """Whether nobody beyond the link can reach this IPv6 address (fe80::/10), or it is none."""
    return address == NO_IPV6 or re.match("fe[89ab]", address.lower()) is not None
