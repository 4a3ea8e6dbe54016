"""Apply an OpenStack network_data.json: python3 -m agent_router.ramdisk.network.apply FILE

Sets up the interfaces that it describes and /etc/resolv.conf, and prints what to add to dhcpcd.conf. Problems go to
stderr; the exit status is 1 if nothing in the file could be used.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent_router.ramdisk.network.links import Argv
from agent_router.ramdisk.network.plan import NetworkPlan, dhcpcd_lines, macs, plan

SYS = Path("/sys/class/net")
PROC = Path("/proc/sys/net/ipv6/conf")
ETC = Path("/etc")
ETHER = "1"  # linux/if_arp.h
NICS_WAIT_S = 30  # some drivers need half a minute to load their firmware


def present(sys_: Path = SYS) -> dict[str, str]:
    """Names of the Ethernet interfaces by MAC, without those built on others (bonds, VLANs, bridges)."""
    found: dict[str, str] = {}
    for directory in sorted(sys_.iterdir(), key=lambda path: path.name):
        if _read(directory / "type") == ETHER and not any(directory.glob("lower_*")):
            # A bond member has the MAC of the bond.
            mac = _read(directory / "bonding_slave/perm_hwaddr") or _read(directory / "address")
            found.setdefault(mac.lower(), directory.name)
    return found


def wait_for(wanted: set[str], limit_s: float = NICS_WAIT_S, sys_: Path = SYS) -> dict[str, str]:
    """present(), as soon as all of `wanted` are there, or after `limit_s` without them."""
    end = time.monotonic() + limit_s
    while not wanted <= (found := present(sys_)).keys() and time.monotonic() < end:
        time.sleep(0.2)
    return found


def apply(made: NetworkPlan) -> set[str]:
    """Carry out the plan; returns the interfaces that could not be set up. Adds to `problems`."""
    if any("bond" in argv for interface in made.interfaces for argv in interface.make):
        # Otherwise the module creates a bond0 as soon as it is loaded.
        subprocess.run(["modprobe", "--quiet", "bonding", "max_bonds=0"], stderr=subprocess.DEVNULL, check=False)
    lost: set[str] = set()
    for interface in made.interfaces:
        if interface.parent in lost or not all(_ip(interface.make, made)):
            lost.add(interface.name)
            continue
        if "ra" not in interface.dhcp:
            _no_router_advertisements(interface.name)
        _ip(interface.tune, made)
        if any(_ip(interface.addresses, made)):
            _ip(interface.routes, made)
        elif interface.addresses and not interface.dhcp:
            lost.add(interface.name)
    return lost | {interface.name for interface in made.interfaces if interface.master in lost}


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print("usage: python3 -m agent_router.ramdisk.network.apply FILE", file=sys.stderr)
        return 2
    try:
        document: Any = json.loads(Path(argv[0]).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        print(f"network data: {argv[0]} cannot be read as JSON: {error}", file=sys.stderr)
        return 1
    made = plan(document, wait_for(macs(document)))
    lost = apply(made)
    for problem in made.problems:
        print(f"network data: {problem}", file=sys.stderr)
    if not made.works(lost):
        return 1
    write_resolv_conf(made.nameservers)
    print(*dhcpcd_lines(made, lost), sep="\n")
    return 0


def write_resolv_conf(nameservers: list[str], etc: Path = ETC) -> None:
    """Also as .head, which dhcpcd writes ahead of what it gets itself."""
    text = "".join(f"nameserver {address}\n" for address in nameservers)
    for name in ("resolv.conf", "resolv.conf.head") if text else ():
        (etc / name).write_text(text)


def _ip(argvs: list[Argv], made: NetworkPlan) -> list[bool]:
    """Which of them worked; after a failure the others are still tried."""
    worked = []
    for argv in argvs:
        done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[0]
            cause = "; the kernel lacks a driver" if "device type" in said or "not supported" in said else ""
            made.problems.append(f"`ip {' '.join(argv)}` failed: {said}{cause}")
        worked.append(done.returncode == 0)
    return worked


def _no_router_advertisements(name: str) -> None:
    """Otherwise the kernel would accept unwanted addresses and routes."""
    try:
        (PROC / name / "accept_ra").write_text("0")
    except OSError:
        return  # no such interface yet, or no IPv6


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
