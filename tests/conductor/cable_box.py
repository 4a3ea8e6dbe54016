"""A machine at the other end of a network cable that a test can unplug: a namespace, a veth pair, a bridge.

Ironic and its web server listen on the loopback of this computer; they get a door each on the bridge.
"""

import contextlib
import os
import socket
import subprocess
import threading
import time
from typing import Any

from ironic_box import IronicBox
from machine_box import Machine

HERE, THERE = "10.77.219.1", "10.77.219.2"
PIECE = 64 << 10


def ip(*argv: str, inside: tuple[str, ...] = ()) -> None:
    subprocess.run([*inside, "ip", *argv], check=True)


class Cable:
    """Unplugged, it says nothing: packets get lost, as with a switch that starts anew."""

    def __init__(self, box: IronicBox, images_bytes_per_s: float = 0) -> None:
        self.bridge, self._port = f"ar-br{os.getpid()}"[:15], f"ar-port{os.getpid()}"[:15]
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.enter = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net")
        self._doors: list[Door] = []
        files_port = int(box.files_url.rpartition(":")[2])
        try:
            self._connect()
            self._doors = [Door(box.port, 0), Door(files_port, images_bytes_per_s)]
        except BaseException:
            self.close()
            raise
        self.files_url = f"http://{HERE}:{files_port}"

    def _connect(self) -> None:
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == own:  # it has not got there yet
            time.sleep(0.01)
        ip("link", "add", self.bridge, "type", "bridge")
        ip("address", "add", f"{HERE}/24", "brd", "+", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        ends = ["type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid)]
        ip("link", "add", self._port, *ends)
        ip("link", "set", self._port, "master", self.bridge, "up")
        ip("link", "set", "lo", "up", inside=self.enter)
        ip("address", "add", f"{THERE}/24", "brd", "+", "dev", "eth0", inside=self.enter)
        ip("link", "set", "eth0", "up", inside=self.enter)

    def unplug(self) -> None:
        ip("link", "set", self._port, "down")

    def plug(self) -> None:
        ip("link", "set", self._port, "up")

    def close(self) -> None:
        for door in self._doors:
            door.close()
        for name in (self._port, self.bridge):
            subprocess.run(["ip", "link", "delete", name], check=False, stderr=subprocess.DEVNULL)
        self._holder.kill()
        self._holder.wait()


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
    """A machine at the end of a cable."""

    address = THERE

    def __init__(self, cable: Cable, *arguments: Any) -> None:
        self.enter = cable.enter
        super().__init__(*arguments)

    def network_boot(self) -> str:
        return super().network_boot().replace("127.0.0.1", HERE)
