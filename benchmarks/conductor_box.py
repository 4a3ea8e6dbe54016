"""Both agents in the machine of tests/conductor: the same namespaces and disk, with a control group for each agent."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import meters
from servers import HERE, ROOT

# The machine and the real Ironic are those of the tests.
sys.path.insert(0, str(ROOT))

from agent_router.conductor.addresses import macs
from tests.support.ironic import VENV, Ironic, Node
from tests.support.machine import Boot, Disk, Machine

TESTS = ROOT / "tests/conductor"
DISK_MIB = 5 << 10
# ironic-python-agent's PATH: programs that only read, and the box's power switch. It sees only the machine's loop disk
# (tests/conductor/test_conductor_machine.py), and cannot load kernel modules or assemble arrays.
IPA_MAY_RUN = (
    "lshw", "lsblk", "lsblk.real", "sed", "readlink", "udevadm", "ip", "ps", "df", "dmesg", "journalctl", "ls", "cat",
    "lscpu", "dmidecode", "blkid", "hostname", "findmnt", "grep", "systemctl", "poweroff",
)  # fmt: skip
ENTER = 'echo 0 >"$1" && shift && exec "$@"'


class MeteredBoot(Boot):
    """The agent enters the control group; setting up the machine does not count."""

    group: Path

    def agent(self) -> list[Any]:
        return ["/bin/sh", "-c", ENTER, "enter", self.group / "cgroup.procs", *self.program()]

    def program(self) -> list[Any]:
        return super().agent()


class IpaBoot(MeteredBoot):
    """ironic-python-agent, with options in place of kernel parameters."""

    ipa: Path

    def program(self) -> list[Any]:
        given = dict(word.partition("=")[::2] for word in self.cmdline.split())
        host, port = self._address, self.port
        argv = [self.python, self.ipa / "bin/ironic-python-agent", "--listen_host", host, "--listen_port", port,
                "--advertise_host", host, "--advertise_port", port, "--disk_wait_attempts", "1"]  # fmt: skip
        for option in ("api-url", "inspection-callback-url", "global-request-id"):
            if f"ipa-{option}" in given:
                argv += [f"--{option.replace('-', '_')}", given[f"ipa-{option}"]]
        return ["env", f"PATH={self.root / 'bin'}", f"PYTHONPATH={HERE / 'conductor_ipa'}", *argv]

    def start(self, disks: Any) -> None:
        (self.root / "bin").mkdir()
        for name in IPA_MAY_RUN:
            found = shutil.which(name.removesuffix(".real"), path="/usr/sbin:/usr/bin") or f"/usr/sbin/{name}"
            (self.root / "bin" / name).symlink_to(Path(found).with_name(name))
        super().start(disks)

    @property
    def port(self) -> str:
        lines = (self.root / "config.toml").read_text().splitlines()
        return next(line for line in lines if line.startswith("port")).partition("= ")[2]


class Bench(Machine):
    """One node with its machine; `meter` has the agent's CPU time so far."""

    def __init__(
        self, box: Ironic, place: Path, meter: meters.CgroupMeter, macs: list[str], ipa: Path | None, **driver_info: Any
    ) -> None:
        place.mkdir()
        names: dict[str, Any] = {"group": meter.path}
        if ipa:
            names |= {"ipa": ipa, "python": str(ipa / "bin/python")}
        type(self).boot = type("ThisBoot", (IpaBoot if ipa else MeteredBoot,), names)
        self.meter = meter
        super().__init__(
            Node(box, macs, **driver_info), place / "machine", [Disk(place / "disk", DISK_MIB)], _vendor(place), place
        )

    def close(self) -> None:
        self.unplug()
        self.node.delete()
        self.meter.close()


def _vendor(place: Path) -> str:
    """The step's plugin, copied because a checkout may be group-writable."""
    for kind in ("plugins.d", "schemas"):
        (place / kind).mkdir(mode=0o700)
        for path in (TESTS / kind).glob("acme.burn_in*"):
            shutil.copy(path, place / kind)
    return "".join(
        f"{name} = {json.dumps([str(place / kind)])}\n"
        for name, kind in (("plugins", "plugins.d"), ("schemas", "schemas"))
    )


def missing(ipa: Path, cpu_by: str) -> str:
    if os.geteuid() != 0:
        return "needs root to create loop devices and namespaces"
    if not (ipa / "bin/ironic-python-agent").exists():
        return f"ironic-python-agent is not installed in {ipa}: run make bench-conductor, or set BENCH_IPA"
    if cpu_by.startswith("/proc"):
        return "needs a child control group, version 1 (cpuacct) or 2"
    if not macs():
        return "needs a network interface, because Ironic identifies nodes by MAC address"
    return "" if (VENV / "bin/ironic").exists() else f"needs Ironic in {VENV}: make {VENV.name}/.installed"
