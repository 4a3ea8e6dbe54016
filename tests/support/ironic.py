"""A real Ironic for the tests: one process on loopback with SQLite and fake power, and a client of its API."""

import functools
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.waiting import free_port, wait_for

HERE = Path(__file__).parent
VENV = Path(os.environ.get("AGENT_ROUTER_IRONIC", HERE.parents[1] / ".ironic"))
HEADERS = {"X-OpenStack-Ironic-API-Version": "1.115", "Content-Type": "application/json"}
START_S, FLOW_S, LOOK_S = 120.0, 240.0, 0.3
STABLE = ("failed", "error")


class Refused(Exception):
    """Ironic's API answered with an error; str() is its body."""


class Ironic:
    """`url` is the API, `files` the directory that it and the tests serve images from, at `files_url`."""

    def __init__(self, root: Path) -> None:
        self.root, self.files = root, root / "http"
        for name in ("http", "tmp", "certs", "tftp/master", "images/master", "state/lock"):
            (root / name).mkdir(parents=True)
        for name in ("kernel", "ramdisk"):  # fetched by Ironic, started by nobody
            (self.files / name).write_text(name)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, self.files))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.files_url = f"http://127.0.0.1:{self._server.server_port}"
        self._config = root / "ironic.conf"
        values = {"@ROOT@": str(root), "@PORT@": str(self.port), "@FILES@": str(self._server.server_port)}
        text = (HERE / "ironic.conf.in").read_text()
        for key, value in values.items():
            text = text.replace(key, value)
        self._config.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Ironic":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        config = f"--config-file={self._config}"
        environ = {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}"}
        with (self.root / "output").open("wb") as output:
            made = [VENV / "bin/ironic-dbsync", config, "create_schema"]
            subprocess.run(made, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True)
            self._process = subprocess.Popen(
                [VENV / "bin/ironic", config],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for(self._is_up, f"Ironic answers; see {self.root}/ironic.log", START_S)
        return self

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Ironic ended: {(self.root / 'output').read_text()[-2000:]}"
        time.sleep(0.1)
        try:
            return bool(self.request("GET", "/v1/drivers")["drivers"])
        except OSError:
            return False

    def stop(self) -> None:
        self._server.shutdown()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, HEADERS, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(f"{method} {path}: {error.code} {error.read().decode()}") from None
        return json.loads(raw) if raw else None

    def log_of(self, node: str) -> str:
        """What Ironic logged about a node, for the report of a test that failed."""
        lines = (self.root / "ironic.log").read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if node in line and "ironic.api" not in line)


class _Files(http.server.SimpleHTTPRequestHandler):
    def __init__(self, directory: Path, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(directory))

    def log_message(self, *_: Any) -> None:
        pass


class Node:
    """One node in Ironic."""

    def __init__(self, box: Ironic, addresses: list[str], **driver_info: Any) -> None:
        self.box, self.seen, self.addresses = box, [""], addresses
        self.trouble: Callable[[], str] = str  # the machine tells here why it is of no use to wait
        boot = {
            f"{kind}_{part}": f"{box.files_url}/{part}"
            for kind in ("deploy", "rescue")
            for part in ("kernel", "ramdisk")
        }
        made = box.request(
            "POST",
            "/v1/nodes",
            {
                "driver": "fake-hardware",
                "boot_interface": "ipxe",
                "resource_class": "bm",
                "properties": {"cpu_arch": "x86_64"},
                "driver_info": {**boot, **driver_info},
            },
        )
        self.uuid = str(made["uuid"])
        for address in addresses:
            box.request("POST", "/v1/ports", {"node_uuid": self.uuid, "address": address})
        self.provision("manage", "manageable")

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.box.request("GET", f"/v1/nodes/{self.uuid}")
        if found["provision_state"] != self.seen[-1]:
            self.seen.append(found["provision_state"])
        return found

    def patch(self, path: str, value: Any) -> None:
        self.box.request("PATCH", f"/v1/nodes/{self.uuid}", [{"op": "add", "path": path, "value": value}])

    def ask(self, verb: str, **more: Any) -> None:
        self.box.request("PUT", f"/v1/nodes/{self.uuid}/states/provision", {"target": verb, **more})

    def provision(self, verb: str, wanted: str, **more: Any) -> dict[str, Any]:
        """Ask for a change of state and wait for where it ends; every other end fails the test at once."""
        self.ask(verb, **more)
        return self.reach(wanted)

    def reach(self, wanted: str) -> dict[str, Any]:
        return self.until(
            lambda node: node["provision_state"] == wanted and not _moving(node),
            f"state {wanted!r}",
            lambda node: (
                node["provision_state"].endswith(STABLE) and not _moving(node) and node["provision_state"] != wanted
            ),
        )

    def until(
        self,
        good: Callable[[dict[str, Any]], bool],
        what: str,
        bad: Callable[[dict[str, Any]], bool] = lambda node: False,
    ) -> dict[str, Any]:
        """The node as soon as `good`; an AssertionError with Ironic's reason if it becomes `bad` instead."""
        give_up = time.monotonic() + FLOW_S
        while not good(node := self.get()):
            state, error = node["provision_state"], node["last_error"]
            assert not bad(node), f"{state} instead of {what}: {error}"
            assert not (trouble := self.trouble()), f"{trouble} in {state}: {error}"
            assert time.monotonic() < give_up, f"no {what} after {FLOW_S:g} s, still in {state}: {error}"
            time.sleep(LOOK_S)
        return node

    def delete(self) -> None:
        self.trouble = str
        wait_for(self._given_up, "a node that the conductor does not work on")
        self.until(lambda node: node["reservation"] is None, "a node that nobody has reserved")
        self.box.request("DELETE", f"/v1/nodes/{self.uuid}")

    def _given_up(self) -> bool:
        try:
            self.box.request("PUT", f"/v1/nodes/{self.uuid}/maintenance", {})
        except Refused as error:
            assert "is locked" in str(error), error
            return False
        return True


def _moving(node: dict[str, Any]) -> bool:
    """A failed node keeps its target, so that one can try again; the reason may come a moment later."""
    if node["provision_state"].endswith(STABLE):
        return node["last_error"] is None
    return node["target_provision_state"] is not None
