"""Machines at the far ends of network cables that a test can unplug: a namespace and a veth pair each, and a bridge.

Ironic and its web server listen on the loopback of this computer; they get a door each on the bridge.
"""

import contextlib
import os
import socket
import subprocess
import threading
import time
from typing import Any

from tests.support.ironic import Ironic
from tests.support.machine import Machine

NETWORK = "10.77.219"
HERE = f"{NETWORK}.1"
PIECE = 64 << 10


def ip(*argv: str, inside: tuple[str, ...] = ()) -> None:
    subprocess.run([*inside, "ip", *argv], check=True)


class End:
    """Where a machine is, in a network of its own; `enter` is the command that goes there."""

    def __init__(self, bridge: str, number: int) -> None:
        self.address = f"{NETWORK}.{number + 2}"
        self.port = f"ar-p{number}-{os.getpid()}"[:15]
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.enter = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net")
        try:
            self._connect(bridge)
        except BaseException:
            self.close()
            raise

    def _connect(self, bridge: str) -> None:
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == own:  # it has not got there yet
            time.sleep(0.01)
        ends = ["type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid)]
        ip("link", "add", self.port, *ends)
        ip("link", "set", self.port, "master", bridge, "up")
        ip("link", "set", "lo", "up", inside=self.enter)
        ip("address", "add", f"{self.address}/24", "brd", "+", "dev", "eth0", inside=self.enter)
        ip("link", "set", "eth0", "up", inside=self.enter)

    def close(self) -> None:
        subprocess.run(["ip", "link", "delete", self.port], check=False, stderr=subprocess.DEVNULL)
        self._holder.kill()
        self._holder.wait()


class Cable:
    """Unplugged, it says nothing: packets get lost, as with a switch that starts anew."""

    def __init__(self, box: Ironic, images_bytes_per_s: float = 0, ends: int = 1) -> None:
        self.bridge = f"ar-br{os.getpid()}"[:15]
        self.ends: list[End] = []
        self._doors: list[Door] = []
        files_port = int(box.files_url.rpartition(":")[2])
        try:
            ip("link", "add", self.bridge, "type", "bridge")
            ip("address", "add", f"{HERE}/24", "brd", "+", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
            for number in range(ends):
                self.ends.append(End(self.bridge, number))
            self._doors = [Door(box.port, 0), Door(files_port, images_bytes_per_s)]
        except BaseException:
            self.close()
            raise
        self.files_url = f"http://{HERE}:{files_port}"

    def unplug(self) -> None:
        for end in self.ends:
            ip("link", "set", end.port, "down")

    def plug(self) -> None:
        for end in self.ends:
            ip("link", "set", end.port, "up")

    def close(self) -> None:
        for door in self._doors:
            door.close()
        for end in self.ends:
            end.close()
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, stderr=subprocess.DEVNULL)


class Door:
    """Passes connections to a port of the bridge on to the same port of the loopback."""

    def __init__(self, port: int, bytes_per_s: float) -> None:
        self.port, self._pause_s = port, PIECE / bytes_per_s if bytes_per_s else 0.0
        self._listener = socket.create_server((HERE, port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)  # what is sent slowly arrives slowly
                server = socket.create_connection(("127.0.0.1", self.port))
                threading.Thread(target=self._copy, args=(client, server, 0.0), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, self._pause_s), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, pause_s: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                target.sendall(data)
                time.sleep(pause_s * len(data) / PIECE)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class FarMachine(Machine):
    """A machine at an end of the cable."""

    def __init__(self, cable: Cable, *arguments: Any, end: int = 0) -> None:
        self.enter, self.address = cable.ends[end].enter, cable.ends[end].address
        super().__init__(*arguments)

    def network_boot(self) -> str:
        return super().network_boot().replace("127.0.0.1", HERE)
