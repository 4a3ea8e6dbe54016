"""A machine for the tests: loop devices for disks, and an agent that starts and ends with the power.

It boots as a real one would: what Ironic wrote for the node's iPXE decides between ramdisk and
disk, and the ramdisk gets the kernel command line that stands there.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.disk_images import Image
from tests.support.ironic import HERE, Node, Refused
from tests.support.loop import LoopDevice
from tests.support.waiting import free_port, wait_for

REPO = HERE.parents[1]
MIB = 1 << 20
LOOK_S = 0.3
STEPS = REPO / "tests/conductor"  # plugins.d and schemas of a vendor
SCRIPT_KERNEL = re.compile(r"^kernel (?:--timeout \d+ )?\S+ (.*?) initrd=\S+ \|\| goto", re.MULTILINE)


class Disk:
    """A loop device over a sparse file with another owner's data at its ends."""

    def __init__(self, backing: Path, size_mib: int) -> None:
        self.backing, self.size = backing, size_mib * MIB
        with backing.open("wb") as file:
            file.write(os.urandom(2 * MIB))
            file.truncate(self.size)
            file.seek(self.size - MIB)
            file.write(os.urandom(MIB))
        table = "label: dos\nstart=1MiB, size=100MiB\n"
        subprocess.run(["sfdisk", "--quiet", str(backing)], input=table, text=True, check=True)
        self._loop = LoopDevice(backing, partscan=True)
        self.device = self._loop.path

    def read(self, length: int, offset: int = 0) -> bytes:
        with self.backing.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def sha256(self, length: int) -> str:
        return hashlib.sha256(self.read(length)).hexdigest()

    def signatures(self) -> list[str]:
        """What wipefs finds: names of partition tables and file systems."""
        done = ["wipefs", "--no-act", "--noheadings", "--output", "TYPE", str(self.backing)]
        return subprocess.run(done, capture_output=True, text=True, check=True).stdout.split()

    def close(self) -> None:
        self._loop.close()
        self.backing.unlink()


class Boot:
    """One run of the agent, from power on to power off."""

    python = sys.executable

    def __init__(self, root: Path, cmdline: str, settings: str, address: str, enter: list[str]) -> None:
        self.root, self.cmdline, self.state = root, cmdline, root / "state"
        self._address, self._enter = address, enter
        (root / "ram").mkdir(parents=True)
        (root / "cmdline").write_text(cmdline + "\n")
        (root / "config.toml").write_text(settings + f'state = "{self.state}"\nnotices = "{root}/notices"\n')
        self.at, self.took_s = time.monotonic(), 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def agent(self) -> list[Any]:
        return [
            self.python,
            "-m",
            "agent_router",
            "ramdisk",
            f"--config={self.root}/config.toml",
            f"--cmdline={self.root}/cmdline",
        ]

    def start(self, disks: Iterable[str]) -> None:
        with (self.root / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*self._enter, "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
                 HERE / "power_on.sh", self.root, self.python, REPO, *disks, "--", *self.agent()],
                env={**os.environ, "PYTHONPATH": str(REPO)}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return (self.root / "output").read_text(errors="replace")

    @property
    def switched_off_by(self) -> str:
        """The command by which the ramdisk switched the machine off itself, or ""."""
        said = self.root / "switched"
        return said.read_text().strip() if said.exists() else ""

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def died(self) -> bool:
        started = self._process is not None  # a moment after it became a boot
        return started and not self.took_s and not self.runs() and not self.switched_off_by

    def power_off(self) -> None:
        assert self._process is not None
        self.took_s = time.monotonic() - self.at
        self._process.kill()
        self._process.wait()

    def pid(self, role: str) -> int:
        """Of runner, front or heartbeat."""
        assert self._process is not None
        for pid in below(self._process.pid):
            if processes.title(pid) == f"agent-router: {role}":
                return pid
        raise AssertionError(f"no {role}: {self.output}")

    def ask(self, path: str, timeout_s: float = 10) -> Any:
        """GET, as the conductor asks."""
        context = ssl.create_default_context(cafile=str(self.state / "tls/cert.pem"))
        port, token = (self.state / "listening").read_text().split()[0], (self.state / "token").read_text().strip()
        url = f"https://{self._address}:{port}{path}?agent_token={token}"
        with urllib.request.urlopen(url, context=context, timeout=timeout_s) as answer:
            return json.load(answer)

    def serves(self, timeout_s: float = 10) -> bool:
        try:
            self.ask("/v1/commands/", timeout_s)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def refuses(self) -> bool:
        """Nobody listens at the agent's port any more."""
        port = int((self.state / "listening").read_text().split()[0])
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            return True
        return False

    def processes(self) -> list[str]:
        """The agent's, by their roles."""
        assert self._process is not None
        titles = [processes.title(pid) for pid in below(self._process.pid)]
        return [title.removeprefix("agent-router: ") for title in titles if title.startswith("agent-router: ")]

    def file(self, path: str) -> str:
        """A file as the ramdisk has it."""
        assert self._process is not None
        [first] = processes.children(self._process.pid)
        return Path(f"/proc/{first}/root{path}").read_text()

    def commands(self) -> list[dict[str, Any]]:
        """What the agent says it was asked to do; of a machine that is off, what it had done."""
        if self.runs():
            with contextlib.suppress(OSError, http.client.HTTPException):  # switched off at this moment
                return list(self.ask("/v1/commands/")["commands"])
        history = self.state / "history"
        text = history.read_text().rstrip(",\n") if history.exists() else ""
        return list(json.loads(f"[{text}]"))

    def names(self) -> list[str]:
        return [command["command_name"] for command in self.commands()]


class Machine:
    """Follows the node's power, as Ironic has it."""

    address = "127.0.0.1"
    enter: tuple[str, ...] = ()  # the command by which it enters a network of its own
    boot: Callable[..., Boot] = Boot

    def __init__(self, node: Node, root: Path, disks: list[Disk], settings: str, dropped: Path) -> None:
        self.node, self.disks = node, disks
        self.boots: list[Boot] = []
        self._dropped = dropped
        self._root, self._port = root, free_port()
        devices = json.dumps([disk.device for disk in disks])
        self._settings = f'host = "{self.address}"\nport = {self._port}\ndevices = {devices}\n' + settings
        self._switch = switched(node.get())
        self._unplugged = threading.Event()
        self._follower = threading.Thread(target=self._follow)
        self._follower.start()
        node.trouble = self._trouble

    def _trouble(self) -> str:
        """A ramdisk that ended by itself while the machine has power."""
        boot = self.boots[-1] if self.boots else None
        return f"{boot.root.name} ended" if boot and boot.died() else ""

    @property
    def ramdisk(self) -> Boot:
        """The boot that is on now, or was on last."""
        return self.boots[-1]

    @property
    def runs(self) -> bool:
        return bool(self.boots) and self.ramdisk.runs()

    def prepare(self, image: Image) -> None:
        """Make the node available, without cleaning, and tell it the image."""
        self.node.patch("/automated_clean", False)
        self.node.provision("provide", "available")
        self.node.patch("/instance_info", image.instance_info)

    def deploy(self, image: Image, **more: Any) -> dict[str, Any]:
        self.prepare(image)
        return self.node.provision("active", "active", **more)

    def drop(self, name: str, like: str, step: str) -> None:
        """Copy a vendor's plugin in under another name, offering the same as `step`."""
        plugin, schema = self._dropped / "plugins.d", self._dropped / "schemas"
        manifest = json.loads((STEPS / f"schemas/{like}.json").read_text())
        manifest["steps"][0]["step"] = step
        (schema / f"{name}.json").write_text(json.dumps(manifest))
        shutil.copy(STEPS / "plugins.d" / like, plugin / name)

    def goes_off(self) -> bool:
        return bool(wait_for(lambda: not self.runs, "the machine is off"))

    def unplug(self) -> None:
        self._unplugged.set()
        self._follower.join()
        for boot in self.boots:
            if boot.runs():
                boot.power_off()
        for disk in self.disks:
            disk.close()

    def _follow(self) -> None:
        while not self._unplugged.wait(LOOK_S):
            with contextlib.suppress(OSError, Refused):
                node = self.node.get()
                switch = switched(node)
                # Not while the conductor is at work: it may say "on" before the machine has what it is to boot.
                if switch != self._switch and node["reservation"] is None:
                    self._switch = switch
                    self._power(node["power_state"] == "power on")

    def _power(self, on: bool) -> None:
        if self.boots:
            self.ramdisk.power_off()
        cmdline = self.network_boot() if on else ""
        if cmdline:
            # The real addresses of this computer are not the machine's.
            cmdline += f" agent.node={self.node.uuid} ipa-advertise-host={self.address}"
            root = self._root / f"boot{len(self.boots) + 1}"
            boot = type(self).boot(root, cmdline, self._settings, self.address, [*self.enter])
            self.boots.append(boot)
            boot.start([disk.device for disk in self.disks])

    def network_boot(self) -> str:
        """The kernel command line of the ramdisk; "" if the machine is to boot its disk."""
        script = self.node.box.files / self.node.uuid / "config"
        text = script.read_text() if script.exists() else ""
        found = SCRIPT_KERNEL.search(text)
        command = found[1].replace("${mac}", self.node.addresses[0]) if found else ""
        return command if "goto deploy\n" in text.partition(":deploy")[0] else ""


def switched(node: dict[str, Any]) -> tuple[str | None, str | None]:
    """Differs after Ironic has switched the power on, off, or off and on."""
    return node["driver_internal_info"].get("last_power_state_change"), node["power_state"]


def below(pid: int) -> list[int]:
    """Every descendant of a process."""
    found = []
    for child in processes.children(pid):
        found += [child, *below(child)]
    return found
