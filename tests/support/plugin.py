"""Run a bundled plugin as the agent does (docs/plugin-protocol.md) and check both sides of the call."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

from tests.support.waiting import HANG_S, wait_for

REPO = Path(__file__).resolve().parents[2]
PLUGINS = REPO / "plugins.d"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PluginFailed(Exception):
    """The plugin answered with an error, or died; `partial` is what it did before."""

    def __init__(self, code: str, message: str, exit_status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.exit_status = exit_status
        self.details = error.get("error", {}).get("details", {})
        self.partial = error.get("partial")


class BadRequest(Exception):
    """The request does not fit the manifest, so the router would not have started the plugin."""


def manifest(name: str) -> dict[str, Any]:
    return json.loads((REPO / "schemas" / f"{name}.json").read_text())


def problems(name: str, side: str, value: Any) -> list[str]:
    """What is wrong with `value` as the request or response of a plugin."""
    whole = manifest(name)
    schema = {"$defs": whole.get("$defs", {}), **whole[side]}
    found = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def guard_devices(name: str, request: dict[str, Any]) -> None:
    """The router's device allow-list, as a wall for the tests: only loop devices are ever written to.

    Checked here and not left to the plugin: whether a plugin refuses is what the tests find out.
    """
    whole = manifest(name)
    if whole["effects"] == "read":
        return
    for key, rule in whole["request"].get("properties", {}).items():
        path = Path(str(request.get(key, "/dev/null")))
        if rule.get("format") == "block-device" and path.is_block_device():
            real = path.resolve().name
            assert real.startswith("loop"), f"a test must not point {name} at {path}, only at a loop device"


class Running:
    """A started plugin: wait for its answer, or send it the signal of a cancel."""

    def __init__(self, name: str, request: dict[str, Any], directory: Path, env: dict[str, str]) -> None:
        self.name = name
        self.directory = directory
        cwd = directory / "cwd"
        cwd.mkdir(parents=True)
        (directory / "request").write_text(json.dumps(request))
        with (
            (directory / "request").open("rb") as stdin,
            (directory / "stdout").open("ab") as stdout,
            (directory / "stderr").open("ab") as stderr,
        ):
            # The shell only gives the event file its number, 3, and is replaced by the plugin.
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", 'exec "$0" 3>>"$EVENT_FILE"', str(PLUGINS / name)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                umask=0o077,
                start_new_session=True,
                env={"HOME": str(cwd), "EVENT_FILE": str(directory / "events"), **env},
            )

    @property
    def events(self) -> list[dict[str, Any]]:
        path = self.directory / "events"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def log(self) -> str:
        return (self.directory / "stderr").read_text()

    def wait_for_event(self, key: str) -> dict[str, Any]:
        """The first event that has `key`; fails if the plugin ends without one."""

        found = self.wait_until(lambda: next((event for event in self.events if key in event), {}), f"event with {key}")
        return dict(found)

    def wait_until(self, condition: Callable[[], Any], what: str = "what was expected of it") -> Any:
        """The value of `condition()` as soon as it is true; fails if the plugin ends before."""

        def look() -> Any:
            ended = self.process.poll() is not None
            found = condition()
            assert found or not ended, f"{self.name} ended without {what}: {self.log}"
            return found

        return wait_for(look, f"{what} of {self.name}")

    def terminate(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """If it runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def finish(self) -> Any:
        """The validated response; raises PluginFailed."""
        try:
            status = self.process.wait(HANG_S)
        finally:
            self.kill()
        text = (self.directory / "stdout").read_text()
        try:
            answer = json.loads(text)
        except ValueError:
            raise PluginFailed("no_answer", f"exit {status}, log: {self.log} stdout: {text}", status, {}) from None
        if status:
            raise PluginFailed(answer["error"]["code"], answer["error"]["message"], status, answer)
        wrong = problems(self.name, "response", answer)
        assert not wrong, f"{self.name} broke its own response schema: {wrong}"
        return answer


class Caller:
    """`call("disk.wipe", device=…)`; `events` and `log` are those of the last call."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = f"{Path(sys.executable).parent}:{SYSTEM_PATH}"
        self.extra_env: dict[str, str] = {}
        self.count = 0
        self.last: Running | None = None
        self.started: list[Running] = []

    def start(self, name: str, /, *, action: str = "run", **request: Any) -> Running:
        wrong = problems(name, "request", request)
        if wrong:
            raise BadRequest("; ".join(wrong))
        assert action == "run" or action in manifest(name).get("supports", [])
        guard_devices(name, request)
        self.count += 1
        self.last = Running(name, request, self.directory / str(self.count), self._environment(name, action, request))
        self.started.append(self.last)
        return self.last

    def close(self) -> None:
        """Ends what a test that failed has left behind."""
        for running in self.started:
            running.kill()

    def __call__(self, name: str, /, *, action: str = "run", **request: Any) -> Any:
        return self.start(name, action=action, **request).finish()

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.last.events if self.last else []

    @property
    def warnings(self) -> list[str]:
        return [event["warn"] for event in self.events if "warn" in event]

    @property
    def log(self) -> str:
        return self.last.log if self.last else ""

    def hide_tools(self) -> None:
        """A PATH with nothing on it but the interpreter."""
        directory = self.directory / "only-python"
        directory.mkdir(parents=True)
        # No link: the interpreter of a virtual environment finds its packages by its own path.
        (directory / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (directory / "python3").chmod(0o755)
        self.path = str(directory)

    def _environment(self, name: str, action: str, request: dict[str, Any]) -> dict[str, str]:
        env = {
            "PATH": self.path, "LANG": "C.UTF-8", "TERM": "dumb",
            "AGENT_PROTOCOL": "1", "AGENT_METHOD": name, "AGENT_COMMAND_ID": f"test-{self.count}",
            "AGENT_ACTION": action, "AGENT_EVENTS": "/dev/fd/3", "AGENT_DEVICES": "/dev/loop*",
            "AGENT_LIB": str(REPO / "agent_router/plugin"), "AGENT_DEADLINE": str(int(time.time() + HANG_S)),
            # A checkout need not be installed to be tested.
            "PYTHONPATH": str(REPO),
        }  # fmt: skip
        env |= self.extra_env
        secret = {key for key, rule in manifest(name)["request"].get("properties", {}).items() if rule.get("writeOnly")}
        for key, value in request.items():
            if isinstance(value, str | int | float) and key not in secret:
                env[f"PARAM_{key}"] = value if isinstance(value, str) else json.dumps(value)
        return env


class FakeTool:
    """A program first on PATH that records its arguments and says what it is told."""

    def __init__(self, directory: Path, name: str, stdout: str, stderr: str, status: int) -> None:
        self.record = directory / f"{name}.calls"
        answer = directory / f"{name}.stdout"
        answer.write_text(stdout)
        complaint = directory / f"{name}.stderr"
        complaint.write_text(stderr)
        script = directory / "bin" / name
        script.write_text(
            "#!/bin/sh\n"
            # One write per call, so that calls at the same time do not mix: unit and record separators.
            f"printf '%s\\036' \"$(printf '%s\\037' \"$@\")\" >>'{self.record}'\n"
            f"cat '{answer}'\ncat '{complaint}' >&2\nexit {status}\n"
        )
        script.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        if not self.record.exists():
            return []
        return [call.split("\x1f")[:-1] for call in self.record.read_text().split("\x1e")[:-1]]
