"""Machines for tests of the network: namespaces joined by veth pairs, gone with the process that holds them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "ramdisk-elements/agent-router/static"
# The element's files lie over those of this machine, as they do in the ramdisk; what is written stays in the box.
RAMDISK = """
set -e
box=$1
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount -t sysfs sysfs /sys
for directory in etc usr/lib; do
    mkdir -p "$box/$directory/upper" "$box/$directory/work"
    mount -t overlay overlay -o "lowerdir=$2/$directory:/$directory,upperdir=$box/$directory/upper" \
        -o "workdir=$box/$directory/work" "/$directory"
done
rm -f /etc/resolv.conf
echo 'nameserver 127.0.0.99' >/etc/resolv.conf
cat >/usr/lib/agent-router/console-line <<'END'
#!/bin/sh
echo line >>/run/console-lines
END
chmod 755 /usr/lib/agent-router/console-line
mount --bind "$box/cmdline" /proc/cmdline
hostname localhost
touch /run/ready
exec sleep infinity
"""


class Box:
    """A machine: namespaces for network, mounts, host name and processes."""

    def __init__(self, place: Path, cmdline: str = "quiet") -> None:
        self.place = place
        self.bin = place / "bin"
        self.bin.mkdir(parents=True)
        (place / "cmdline").write_text(cmdline + "\n")
        self.log = place / "log"
        self.started: list[subprocess.Popen[bytes]] = []
        own = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation=private"]
        # --mount-proc has been heeded before the script starts, so that /proc/cmdline can be covered.
        self.holder = subprocess.Popen(
            ["unshare", *own, "sh", "-c", RAMDISK, "ramdisk", str(place), str(STATIC)],
            stderr=(place / "holder").open("wb"),
        )  # fmt: skip
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        self.pid = int(wait_for(children.read_text, "a process in the namespace").split()[0])
        self.root = Path(f"/proc/{self.pid}/root")
        wait_for(self._ready, "the box")
        self.run("ip", "link", "set", "lo", "up")

    def _ready(self) -> bool:
        assert self.holder.poll() is None, (self.place / "holder").read_text()
        return (self.root / "run/ready").exists()

    def _argv(self, argv: tuple[str, ...]) -> list[str]:
        path = f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--pid"]
        python = [f"AGENT_ROUTER_PYTHON={sys.executable}", f"PYTHONPATH={ROOT}"]
        return [*inside, "env", f"PATH={path}", *python, *argv]

    def run(self, *argv: str) -> str:
        """Its output, stderr too."""
        done = subprocess.run(self._argv(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{argv}: {done.stdout}"
        return done.stdout

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """In the background; its output goes to the log of the box."""
        with self.log.open("ab") as log:
            program = subprocess.Popen(self._argv(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.started.append(program)
        return program

    def fake(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def read(self, path: str) -> str:
        file = self.root / path.lstrip("/")
        return file.read_text() if file.exists() else ""

    def addresses(self, interface: str) -> list[str]:
        """Global ones that can be used; none if there is no such interface."""
        links: list[dict[str, Any]] = json.loads(self.run("ip", "-json", "address"))
        return [
            f"{info['local']}/{info['prefixlen']}"
            for link in links
            if link["ifname"] == interface
            for info in link["addr_info"]
            if info["scope"] == "global" and not info.get("tentative")
        ]

    def address(self, interface: str, start: str) -> str:
        """The first one that begins so, as soon as it is there."""

        def found() -> str:
            return next((address for address in self.addresses(interface) if address.startswith(start)), "")

        try:
            return str(wait_for(found, f"an address {start}… on {interface}"))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None

    def reaches(self, address: str) -> bool:
        """Somebody at the address says that nothing listens there."""
        knock = "import socket, sys; print(socket.create_connection((sys.argv[1], 9), 60))"
        argv = self._argv((sys.executable, "-c", knock, address))
        return "refused" in subprocess.run(argv, capture_output=True, text=True).stderr

    def runs(self, program: str) -> bool:
        # Nobody collects the dead of a box.
        return subprocess.run(self._argv(("pgrep", "--runstates=R,S,D", program)), capture_output=True).returncode == 0

    def routes(self, *which: str) -> str:
        return self.run("ip", *which, "route")

    def close(self) -> None:
        self.holder.send_signal(signal.SIGKILL)  # and with it every process in the box
        self.holder.wait()
        for program in self.started:
            program.kill()
            program.wait()


def cable(switch: Box, port: str, machine: Box, interface: str, mac: str, plugged: bool = True) -> None:
    """Join two boxes; `interface` of `machine` gets `mac`."""
    ends = ["type", "veth", "peer", "name", interface, "address", mac, "netns", str(machine.pid)]
    # The kernel looks the process id up where ip runs, so ip runs here and enters the network of the switch alone.
    argv = ["nsenter", f"--target={switch.pid}", "--net", "ip", "link", "add", port, *ends]
    subprocess.run(argv, check=True)
    if plugged:
        switch.run("ip", "link", "set", port, "up")


def serve_dhcp(switch: Box, port: str, *options: str) -> subprocess.Popen[bytes]:
    """dnsmasq on one port; leases in /run/PORT.leases of the switch."""
    return switch.start(
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-hosts", "--no-resolv",
        "--no-ping", "--user=root", "--pid-file=", f"--interface={port}", "--bind-interfaces",
        "--log-dhcp", "--log-facility=-", f"--dhcp-leasefile=/run/{port}.leases", *options,
    )  # fmt: skip


def why_not() -> str:
    """Why such boxes cannot be made here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root: makes network namespaces"
    missing = [name for name in ("unshare", "nsenter", "dhcpcd", "dnsmasq", "ip") if not shutil.which(name)]
    if missing:
        return f"needs {', '.join(missing)}"
    layers = "lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w"
    mounts = f"mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w && mount -t overlay overlay -o {layers} /etc"
    tried = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", mounts], capture_output=True, text=True)
    return f"needs namespaces and overlayfs: {tried.stderr.strip()}" if tried.returncode else ""
