"""A network of their own for a guest and its servers: a namespace with the host's end of a tap device in it.

QEMU's user network carries no multicast and lets nobody in from outside. Nothing of this machine's own network is
changed. Needs root and /dev/net/tun.
"""

import fcntl
import os
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any

from machine_parts import run

TUN = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
SERVER, GUEST, PREFIX = "10.99.0.1", "10.99.0.2", 24


def obstacle() -> str:
    """Why there can be none here, or nothing."""
    if os.geteuid() != 0:
        return "a network for the guest needs root"
    return "" if TUN.exists() else f"{TUN} is missing: modprobe tun, or give the device to this container"


class TapLan:
    """`fd` is the end for QEMU. The servers' end has the address SERVER; what start() and run() start is there."""

    def __init__(self) -> None:
        self.namespace = f"agent-router-{os.getpid()}"
        self.servers: list[tuple[subprocess.Popen[str], int]] = []
        self.fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
        made = fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", b"lan%d", IFF_TAP | IFF_NO_PI))
        self.interface = made[:16].rstrip(b"\0").decode()
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "set", self.interface, "netns", self.namespace)
        inside = ("-n", self.namespace)
        run("ip", *inside, "link", "set", "lo", "up")
        run("ip", *inside, "address", "add", f"{SERVER}/{PREFIX}", "brd", "+", "dev", self.interface)
        run("ip", *inside, "link", "set", self.interface, "up")

    def start(self, *argv: object, end: int = signal.SIGTERM, **more: Any) -> "subprocess.Popen[str]":
        """A server; it ends by the signal `end` with this network, or with this process."""
        command = ["setpriv", "--pdeathsig", "KILL", *self._inside(argv)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, **more)
        self.servers.append((server, end))
        return server

    def run(self, *argv: object, **more: Any) -> str:
        """What a program there prints; it must succeed."""
        done = subprocess.run(self._inside(argv), capture_output=True, text=True, check=False, **more)
        assert done.returncode == 0, f"{argv[0]}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        for server, end in self.servers:
            server.send_signal(end)
            server.wait(10)
        os.close(self.fd)
        run("ip", "netns", "delete", self.namespace)

    def _inside(self, argv: tuple[object, ...]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *map(str, argv)]
