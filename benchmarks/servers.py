"""The servers under comparison: how to start, query and stop each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import client
import meters

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILT = ROOT / ".bench"
INSTALLED = Path(os.environ.get("BENCH_OURS") or BUILT / "size/ours")
BASE_PYTHON = Path(sys.base_prefix, "bin/python3")
TOKEN = "0123456789abcdef0123456789abcdef"
# IPA looks for disks and modules when it starts. These programs only read; mdadm, mount and modprobe,
# which would change this machine, are not on its PATH.
IPA_MAY_RUN = ("lshw", "lsblk", "readlink", "udevadm")


@dataclass
class Lab:
    """What all measurements share."""

    quick: bool
    work: Path  # on a tmpfs, removed at the end
    ipa: Path | None
    meter_name: str = ""
    new_meter: Any = None
    servers: list[Server] = field(default_factory=list)

    def rounds(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def ours(self, name: str = "ours", plugins: Path = BUILT / "plugins", schemas: Path = HERE / "schemas") -> Server:
        state = Path(tempfile.mkdtemp(prefix="state-", dir=self.work))
        argv = [BASE_PYTHON, "-m", "agent_router", "serve", "--no-bundled", "--state", state]
        argv += ["--plugins", plugins, "--schemas", schemas, "--port"]
        server = Server(self, name, argv, "/v1/status")
        server.state = state
        return server

    def webhook(self) -> Server:
        hooks = self.work / "hooks.json"
        hooks.write_text(json.dumps([_hook(kind) for kind in ("c", "bash", "bashlib", "python")]))
        return Server(self, "webhook", ["webhook", "-hooks", hooks, "-ip", client.HOST, "-port"], "/")

    def new_ipa(self, lshw: bool = True) -> Server:
        if self.ipa is None:
            raise RuntimeError("ironic-python-agent is not installed: run make bench, or set BENCH_IPA")
        path = self.work / ("ipa-bin" if lshw else "ipa-bin-without-lshw")
        path.mkdir(exist_ok=True)
        if not lshw and not (path / "lshw").exists():
            (path / "lshw").write_text("#!/bin/sh\necho '{}'\n")
            (path / "lshw").chmod(0o755)
        for tool in IPA_MAY_RUN:
            found = shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")
            if found and not (path / tool).exists():
                (path / tool).symlink_to(found)
        argv = [self.ipa / "bin/ironic-python-agent", "--listen_host", client.HOST, "--advertise_host", client.HOST]
        argv += ["--agent_token", TOKEN, "--disk_wait_attempts", "1", "--listen_port"]
        return Server(self, "ipa", argv, "/v1/status", {"PATH": str(path)})


def _hook(kind: str) -> dict[str, Any]:
    hook: dict[str, Any] = {
        "id": kind,
        "execute-command": str(BUILT / f"plugins/bench.{kind}"),
        "include-command-output-in-response": True,
    }
    if kind in ("c", "bash"):
        hook["pass-arguments-to-command"] = [{"source": "entire-payload"}]
    else:
        hook["pass-environment-to-command"] = [{"source": "payload", "name": "text", "envname": "PARAM_text"}]
    return hook


def environ() -> dict[str, str]:
    """A minimal environment for every server; byte code must be cached, as in an installation.

    env finds Debian's interpreter, the cheapest one, to be fair.
    """
    return {
        "PATH": f"{BASE_PYTHON.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": "/",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(INSTALLED),
        "AGENT_LIB": str(INSTALLED / "agent_router/plugin"),
    }


class Server:
    """One server under test; a context manager that leaves nothing behind."""

    state = Path()

    def __init__(self, lab: Lab, name: str, argv: list[Any], status: str, env: dict[str, str] | None = None) -> None:
        self._lab, self.name, self._argv, self._status, self._env = lab, name, argv, status, env or {}
        self._log = lab.work / f"{name}.log"
        lab.servers.append(self)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> tuple[float, float]:
        """Start and wait for the first response: wall-clock and CPU seconds until then."""
        with socket.socket() as sock:
            sock.bind((client.HOST, 0))
            self.port = sock.getsockname()[1]
        self.meter = self._lab.new_meter()
        env = {**environ(), **self._env}
        if self.name == "ipa":
            del env["PYTHONPATH"], env["AGENT_LIB"]
        with self._log.open("wb") as log:
            begin = time.perf_counter()
            self.process = subprocess.Popen(
                [*map(str, self._argv), str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=self._lab.work,
                preexec_fn=self.meter.enter,
            )
        self.meter.root = self.process.pid
        while not self._answers():
            if self.process.poll() is not None or time.perf_counter() - begin > 60:
                raise RuntimeError(f"{self.name} does not respond: {self._log.read_text(errors='replace')[-500:]}")
            time.sleep(0.001)
        return time.perf_counter() - begin, self.cpu()

    def _answers(self) -> bool:
        try:
            return client.get(self.port, self._status)[0] != 0
        except OSError:
            return False

    def cpu(self) -> float:
        """CPU seconds used so far."""
        return self.meter.seconds()

    def pids(self) -> list[int]:
        return meters.tree(self.process.pid)

    def pss_mib(self) -> float:
        return meters.pss_kib(self.pids()) / 1024

    def settle(self, timeout_s: float = 10) -> None:
        """Wait until work left over from the last load is done."""
        until = time.perf_counter() + timeout_s
        quiet = 0
        while quiet < 2 and time.perf_counter() < until:
            used = self.cpu()
            time.sleep(0.1)
            quiet = quiet + 1 if self.cpu() - used < 0.003 else 0

    def stop(self) -> None:
        """Plugins outlive our supervisor by design, so kill everything seen in the group."""
        process = getattr(self, "process", None)
        if process is not None and self.meter is not None:
            pids = self.meter.pids(process.pid)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            left = pids if isinstance(self.meter, meters.ProcMeter) else self.meter.pids(process.pid)
            meters.kill([pid for pid in left if os.path.exists(f"/proc/{pid}") and pid != process.pid])
            self.meter.close()
            self.meter = None
        if self.state.name:
            shutil.rmtree(self.state, ignore_errors=True)
