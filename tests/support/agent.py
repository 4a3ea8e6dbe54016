"""A real agent under test: start it, speak HTTP with it, find its processes, stop it, look for leftovers."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support import processes
from tests.support.waiting import HANG_S, free_port, wait_for

MARK = "AGENT_ROUTER_TEST_ROOT"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """The error body; every one has the string that Ironic needs."""
        body = self.json
        assert self.status >= 400, body
        assert isinstance(body["faultstring"], str), body
        assert body["faultstring"] == body["message"], body
        assert isinstance(body["problems"], list), body
        return body


class Agent:
    """One agent with a state directory of its own; `plugins` and `schemas` are the drop-in directories."""

    def __init__(self, root: Path, *options: str, tls: ssl.SSLContext | None = None, token: str = "") -> None:
        self.root = root
        self.state = root / "state"
        self.plugins, self.schemas = root / "dropped/plugins.d", root / "dropped/schemas"
        for directory in (root, self.plugins, self.schemas):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.output = root / "output"
        self.port = free_port()
        self.options, self.tls, self.token = options, tls, token
        self.prefix: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Agent({self.root})"

    # ---- life

    def command_line(self) -> list[str]:
        places = [f"--plugins={self.plugins}", f"--schemas={self.schemas}", f"--state={self.state}"]
        program = [sys.executable, "-m", "agent_router", "serve", f"--port={self.port}"]
        return [*self.prefix, *program, *places, *self.options]

    def launch(self) -> "subprocess.Popen[bytes]":
        environ = {**os.environ, MARK: str(self.root)}
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command_line(), env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        return self._process

    def start(self) -> "Agent":
        launched = time.time()
        process = self.launch()

        def up() -> bool:
            assert process.poll() is None, f"it ended with {process.returncode}: {self.output.read_text()}"
            try:  # the front of an agent that the test has killed may answer for a moment
                return self.get("/v1/status")["started_at"] > launched
            except (OSError, http.client.HTTPException):
                return False

        wait_for(up, "the agent answers")
        return self

    def stop(self) -> None:
        """End the supervisor, which ends the rest, plugins excepted."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
            self._process.wait(HANG_S)
            self._process = None

    def reap(self) -> None:
        """Collect the supervisor after a test has killed it."""
        if self._process is not None:
            self._process.wait(HANG_S)
            self._process = None

    def kill_all(self) -> None:
        """Nothing of this agent remains, whatever the test did."""
        for _ in range(100):
            found = processes.marked(MARK, str(self.root))
            for pid in found:
                processes.kill(pid, signal.SIGKILL)
            if not found:
                break
            time.sleep(0.02)
        self.reap()

    def leftovers(self) -> list[str]:
        return [processes.describe(pid) for pid in processes.marked(MARK, str(self.root))]

    # ---- processes

    @property
    def pids(self) -> dict[str, int]:
        """Role to pid: supervisor, runner, front; those that are there."""
        found: dict[str, int] = {}
        for pid in processes.marked(MARK, str(self.root)):
            title, above = processes.title(pid), processes.title(processes.parent(pid))
            if title.startswith("agent-router: ") and above != title:  # else a fork that has no title yet
                found[title.removeprefix("agent-router: ")] = pid
        found.pop("judge", None)  # it comes and goes
        return found

    @property
    def judges(self) -> list[int]:
        return processes.children(self.pids["front"])

    def kill(self, *roles: str) -> None:
        """SIGKILL these roles at the same moment, as far as that goes."""
        pids = self.pids
        chosen = [pids[role] for role in roles]
        for pid in chosen:
            os.kill(pid, signal.SIGSTOP)  # none sees the other die and acts on it
        for pid in chosen:
            os.kill(pid, signal.SIGKILL)
        if "supervisor" in roles:
            self.reap()
        for pid in chosen:
            wait_for(lambda pid=pid: not processes.alive(pid), f"the end of {pid}")

    # ---- HTTP

    def connect(self, timeout_s: float = HANG_S) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout_s)
        return self.tls.wrap_socket(sock, server_hostname="localhost") if self.tls else sock

    def raw(self, data: bytes, timeout_s: float = HANG_S) -> bytes:
        """Send bytes as they are; all that comes back."""
        with self.connect(timeout_s) as sock:
            sock.sendall(data)
            answer = b""
            try:
                while part := sock.recv(1 << 16):
                    answer += part
            except ConnectionResetError:
                pass
            return answer

    def request(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = HANG_S, **headers: str
    ) -> Reply:
        if self.tls:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=timeout_s, context=self.tls
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def answers(self, path: str) -> bool:
        try:
            return self.request("GET", path).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str) -> Any:
        reply = self.request("GET", path)
        assert reply.status == 200, reply
        return reply.json

    def delete(self, path: str) -> Reply:
        return self.request("DELETE", path)

    # ---- commands

    def send(self, name: str, params: Any = None, **query: Any) -> Reply:
        """POST /v1/commands/ as it is answered."""
        query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
        body = json.dumps({"name": name, "params": {} if params is None else params}).encode()
        return self.request("POST", f"/v1/commands/?{urlencode(query)}", body)

    def post(self, name: str, params: Any = None, wait: bool = True, **query: Any) -> dict[str, Any]:
        """The command object of a command that must have been accepted."""
        reply = self.send(name, params, wait=wait, **query)
        assert reply.status == 200, reply
        return reply.json

    def post_until_answered(self, name: str, params: Any = None, id: str = "", **query: Any) -> dict[str, Any]:
        """What a careful client does: a chosen id, and the same request again after a lost connection."""
        id = id or uuid.uuid4().hex
        give_up = time.monotonic() + HANG_S
        while True:
            try:
                return self.post(name, params, id=id, **query)
            except (OSError, http.client.HTTPException):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)

    def command(self, id: str, wait: bool = False) -> dict[str, Any]:
        return self.get(f"/v1/commands/{id}" + ("?wait=true" if wait else ""))

    def commands(self) -> list[dict[str, Any]]:
        return self.get("/v1/commands/")["commands"]

    def ended(self, id: str) -> dict[str, Any]:
        """The command once it has ended, also while the agent is being killed and started."""

        def look() -> dict[str, Any] | None:
            try:
                return self.command(id, wait=True)
            except (OSError, http.client.HTTPException):
                return None

        return wait_for(look, f"the end of command {id}")

    def methods(self) -> dict[str, dict[str, Any]]:
        return {entry["name"]: entry for entry in self.get("/v1/methods")["methods"]}

    def log(self, id: str) -> str:
        return self.request("GET", f"/v1/commands/{id}/log").body.decode()

    def events(self, id: str) -> list[tuple[str, Any]]:
        """(event, data) pairs of the whole stream; waits for the command's end."""
        text = self.request("GET", f"/v1/commands/{id}/events").body.decode()
        return [(item["event"], json.loads(item["data"])) for item in server_sent(text.splitlines())]

    def cwd(self, id: str) -> Path:
        return self.state / "c" / id / "cwd"


def server_sent(lines: Any) -> Iterator[dict[str, str]]:
    """The fields of each event of a text/event-stream; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line and fields:
            yield fields
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def drop_into(agent: Agent, name: str, script: str | bytes, **keys: Any) -> Path:
    path = agent.plugins / name
    path.write_bytes(script if isinstance(script, bytes) else script.encode())
    path.chmod(0o700)
    (agent.schemas / f"{name}.json").write_text(json.dumps(manifest(**keys)))
    return path


def manifest(**keys: Any) -> dict[str, Any]:
    return {
        "protocol": 1,
        "title": "Dropped in by a test",
        "version": "1",
        "effects": "read",
        "request": {"type": "object"},
        "response": {},
        **keys,
    }


Drop = Callable[..., Path]
FreshAgent = Callable[..., Agent]
