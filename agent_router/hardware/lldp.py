"""LLDP: what the switches announce on the ports that this machine is connected to (IEEE 802.1AB).

One packet socket listens on all interfaces at once. Nothing is sent, and no interface is changed: the multicast
memberships end with the socket, even if the plugin is killed.
"""

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.hardware.interfaces import choose
from agent_router.ramdisk import kernel_parameters
from agent_router.ramdisk.network import cards
from agent_router.storage.blockdev import PROC, SYS, read

ETHERTYPE = 0x88CC
# 802.1AB table 7-1: nearest bridge, nearest non-TPMR bridge, nearest customer bridge.
GROUPS = ("0180c200000e", "0180c2000003", "0180c2000000")
END, CHASSIS, PORT, TTL = range(4)
# linux/if_packet.h
SOL_PACKET, ADD_MEMBERSHIP, MULTICAST, PROMISCUOUS = 263, 1, 0, 1
PACKET_OUTGOING = 4
# Switches announce every 30 s (802.1AB, msgTxInterval); a little more, so that none is just missed.
LISTEN_S, LONGEST_S = 35.0, 600.0
CARRIER_CHECK_S = 1.0

Tlvs = list[tuple[int, str]]
Heard = dict[str, Tlvs]


def lldp(request: dict[str, Any]) -> dict[str, Any]:
    """{"lldp_raw": {interface: [[type, hexadecimal value], ...]}}; [] where nothing was received."""
    return {
        "lldp_raw": listen(request.get("listen_s") or listen_s(kernel_parameters.parse(read(PROC / "cmdline") or "")))
    }


def listen_s(given: dict[str, str]) -> float:
    """How long to listen, in seconds: ipa-lldp-timeout of the kernel command line, else LISTEN_S."""
    try:
        asked = float(given.get("ipa-lldp-timeout", LISTEN_S))
    except ValueError:
        asked = 0
    return min(asked, LONGEST_S) if asked > 0 else LISTEN_S


def listen(seconds: float, sys: Path = SYS) -> Heard:
    """TLVs per Ethernet interface; listens until each interface with a link has heard one, or the time is up."""
    net = sys / "class/net"
    # On a bond or VLAN the same would be heard again.
    names = [name for name in cards.cards(net) or choose(sys) if cards.kind(net / name) == cards.ETHERNET]
    heard: Heard = {}
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERTYPE)) as ear:
            join(ear, names)
            for name, tlvs in announcements(ear, names, seconds, sys):
                heard[name] = tlvs
                plugin.progress(len(heard), len(names), "interfaces", f"heard LLDP on {name}")
    except OSError as error:  # a container without CAP_NET_RAW, a kernel without packet sockets
        plugin.warn(f"cannot listen for LLDP: {error.strerror}")
    silent = [name for name in names if name not in heard and has_link(name, sys)]
    if silent:
        plugin.log(f"no LLDP received on {', '.join(silent)}")
    return {name: heard.get(name, []) for name in names}


def join(ear: socket.socket, names: Iterable[str]) -> None:
    """Make the interfaces pass LLDP frames."""
    for name in names:
        try:
            index = socket.if_nametoindex(name)
            # Also promiscuous: the multicast filter of some NICs drops frames addressed to bridges only.
            for kind, group in [(PROMISCUOUS, ""), *((MULTICAST, group) for group in GROUPS)]:
                address = bytes.fromhex(group)
                ear.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, struct.pack("iHH8s", index, kind, len(address), address))
        except OSError as error:
            plugin.warn(f"LLDP may not be received on {name}: {error.strerror}")


def announcements(ear: socket.socket, names: list[str], seconds: float, sys: Path = SYS) -> Iterator[tuple[str, Tlvs]]:
    """The first valid announcement on each interface; ends when all with a link have one, or the time is up."""
    awaited = set(names)
    deadline = time.monotonic() + seconds
    # The links are checked repeatedly: one may come up late, or go down.
    while any(has_link(name, sys) for name in awaited) and (left := deadline - time.monotonic()) > 0:
        ear.settimeout(min(left, CARRIER_CHECK_S))
        try:
            payload, (name, _, direction, *_) = ear.recvfrom(65536)
        except TimeoutError:
            continue
        if name in awaited and direction != PACKET_OUTGOING and (tlvs := parse(payload)):
            awaited.remove(name)
            yield name, tlvs


def has_link(name: str, sys: Path = SYS) -> bool:
    return read(sys / "class/net" / name / "carrier") == "1"


def parse(payload: bytes) -> Tlvs:
    """The TLVs of one announcement up to END, values in hexadecimal; [] if it is malformed or a shutdown notice."""
    found: Tlvs = []
    while len(payload) >= 2:
        # 802.1AB 8.4: 7 bits of type, 9 bits of length.
        kind, length = payload[0] >> 1, (payload[0] & 1) << 8 | payload[1]
        value, payload = payload[2 : 2 + length], payload[2 + length :]
        if len(value) < length:
            return []
        found.append((kind, value.hex()))
        if kind == END:  # the rest pads the frame to Ethernet's 60 bytes
            break
    # 8.2: these come first, in this order. A TTL of 0 means that the port is about to shut down.
    if [kind for kind, _ in found[:3]] != [CHASSIS, PORT, TTL] or not found[2][1].strip("0"):
        return []
    return found
