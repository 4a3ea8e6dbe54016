"""One machine of the fleet: a real agent in its own network namespace, with one loop disk."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fleet_net

ROOT = Path(__file__).resolve().parent.parent
CLONE_NEWNET = 0x40000000  # linux/sched.h
POLL_S = 0.2
LISTEN_S = 60.0
MIB = 1 << 20
THROTTLE = Path("/sys/fs/cgroup/blkio")  # cgroup v1, which can throttle a disk
WRITTEN = ("written and verified", "seeding")  # the command's progress message from then on


@dataclass
class Deployment:
    """`done_s`: from the start of the run until the image on the disk was verified; None if it never was."""

    done_s: float | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    why: str = ""


class Node:
    def __init__(self, number: int, work: Path, disk_mib: int) -> None:
        self.number, self.namespace = number, fleet_net.node(number)
        self.place = work / self.namespace
        self.place.mkdir()
        backing = self.place / "disk"
        with backing.open("wb") as file:
            file.truncate(disk_mib * MIB)
        argv = ["losetup", "--find", "--show", str(backing)]
        self.device = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
        self._group: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The agent; it responds once ready() returns."""
        shutil.rmtree(self.place / "state", ignore_errors=True)
        argv = [sys.executable, "-m", "agent_router", "serve", "--state", self.place / "state"]
        argv += ["--devices", self.device]
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                fleet_net.inside(self.namespace, *argv),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def ready(self) -> None:
        give_up = time.monotonic() + LISTEN_S
        with _in(self.namespace):
            while True:
                try:
                    _ask("GET", "/v1/status")
                    return
                except OSError:
                    if time.monotonic() > give_up:
                        raise
                    time.sleep(POLL_S)

    def deploy(self, request: dict[str, Any], begun: float, result: Deployment, over: threading.Event) -> None:
        """Run image.write; `over` ends what follows after the image was written. Call it in a separate thread."""
        with contextlib.suppress(OSError, http.client.HTTPException), _in(self.namespace):
            body = {"name": "image.write", "params": {**request, "device": self.device}}
            command = _ask("POST", "/v1/commands/", body)
            if "id" not in command:
                result.why = command.get("faultstring", "")
                return
            path = f"/v1/commands/{command['id']}"
            while True:
                command = _ask("GET", path)
                told = (command.get("progress") or {}).get("message", "")
                written = told.startswith(WRITTEN) or command["command_status"] == "SUCCEEDED"
                if result.done_s is None and written:
                    result.done_s = time.monotonic() - begun
                if command["command_status"] != "RUNNING":
                    break
                if over.is_set():
                    result.why = "" if result.done_s is not None else f"not done: {told}"
                    _ask("DELETE", path)
                time.sleep(POLL_S)
            result.answer = command.get("command_result") or {}
            result.why = result.why or (command.get("command_error") or {}).get("message", "")

    def forget(self) -> None:
        """Blank the disk, because data left by the previous run would not be fetched again."""
        # blkdiscard prints a warning about --force on stderr.
        subprocess.run(["blkdiscard", "--force", self.device], capture_output=True, check=True)

    def holds(self, image: Path) -> bool:
        argv = ["cmp", "--quiet", f"--bytes={image.stat().st_size}", str(image), self.device]
        return subprocess.run(argv, check=False).returncode == 0

    def slow_down(self, bytes_s: int) -> bool:
        """Limit the rate at which this agent's processes write to its disk; False if the kernel cannot."""
        if self._process is None or not (THROTTLE / "blkio.throttle.write_bps_device").exists():
            return False
        number = os.stat(self.device).st_rdev
        self._group = THROTTLE / f"{self.namespace}-{os.getpid()}"
        self._group.mkdir()
        for key in ("write_bps_device", "read_bps_device"):
            (self._group / f"blkio.throttle.{key}").write_text(f"{os.major(number)}:{os.minor(number)} {bytes_s}")
        for pid in self._pids():
            (self._group / "cgroup.procs").write_text(str(pid))
        return True

    def stand_still(self, seconds: float) -> None:
        """Stop writing, as if the disk hung; helper processes of the writer carry on."""
        writers = [pid for pid in self._pids() if b"image.write" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in writers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(seconds)

    def kill(self) -> None:
        """Kill everything on this machine at once, like a power failure."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        if self._group is not None:
            with contextlib.suppress(OSError):
                time.sleep(0.1)
                self._group.rmdir()
            self._group = None

    def _pids(self) -> list[int]:
        argv = ["ip", "netns", "pids", self.namespace]
        return [int(pid) for pid in subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()]

    def remove(self) -> None:
        self.kill()
        subprocess.run(["losetup", "--detach", self.device], check=False)


@contextlib.contextmanager
def _in(namespace: str) -> Any:
    """Create this thread's sockets in the namespace; use it in a thread that ends afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        yield
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(there)


def _ask(method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", 9999, timeout=60)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"} if body else {})
        return json.loads(connection.getresponse().read() or b"{}")
    finally:
        connection.close()
