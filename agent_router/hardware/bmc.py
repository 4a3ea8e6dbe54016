"""Addresses of the BMC (management controller), by ipmitool through the kernel's IPMI device."""

import re
from pathlib import Path

from agent_router.hardware.probe import ask

# IPMI 2.0, table 6-1: channels 1 to 11 may be LAN.
CHANNELS = range(1, 12)
NO_IPV4, NO_IPV6 = "0.0.0.0", "::/0"


def addresses(dev: Path = Path("/dev")) -> dict[str, str]:
    """Keys bmc_address, bmc_v6address, bmc_mac; {} on a machine without a working BMC.

    "0.0.0.0" and "::/0" mean that there is a BMC without such an address.
    """
    if not any((dev / name).exists() for name in ("ipmi0", "ipmi/0", "ipmidev/0")):
        return {}
    found: dict[str, str] = {}
    if ask("ipmitool", "mc", "info", limit_s=10) is None:
        return {}  # otherwise a dead BMC would cost the time limit once per channel
    for channel in CHANNELS:
        lan = parse_lan(_lan("lan", channel))
        if lan.get("bmc_address", NO_IPV4) != NO_IPV4:
            found |= lan
            break
    for channel in CHANNELS:
        found_v6 = parse_lan6(_lan("lan6", channel))
        if found_v6 != NO_IPV6:
            found["bmc_v6address"] = found_v6
            break
    return {"bmc_address": NO_IPV4, "bmc_v6address": NO_IPV6, **found}


def _lan(kind: str, channel: int) -> str:
    # Most channels are not LAN channels and return an error.
    return ask("ipmitool", kind, "print", str(channel), limit_s=10, quiet=True) or ""


def parse_lan(text: str) -> dict[str, str]:
    """bmc_address and bmc_mac from `ipmitool lan print N`; {} if there are none."""
    fields = dict(re.findall(r"^(IP Address|MAC Address)\s*: (\S+)", text, re.MULTILINE))
    names = {"IP Address": "bmc_address", "MAC Address": "bmc_mac"}
    return {names[key]: value for key, value in fields.items()}


def parse_lan6(text: str) -> str:
    """The first active address in `ipmitool lan6 print N`, static before dynamic; "::/0" if there is none."""
    for kind in ("Static", "Dynamic"):
        for block in re.findall(rf"^IPv6 {kind} Address \d+:\n((?:[ \t]+.*\n?)+)", text, re.MULTILINE):
            fields = dict(re.findall(r"^\s+(\S[^:]*?)\s*:[ \t]*(.*?)\s*$", block, re.MULTILINE))
            address: str = fields.get("Address", "").partition("/")[0]
            if address not in ("", "::") and fields.get("Status", "active") == "active":
                return address
    return NO_IPV6
