"""A machine that gives images away by the programs of others: the command lines of docs/seeding.md as they stand.

It has the address of the document in a network namespace, where the ports of the document are free as well. The machine
that is given to is another: Transmission takes two at one address for one, so itself for what is a seed already.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.lan import inside, run
from tests.support.plugin import REPO
from tests.support.waiting import HANG_S, wait_for

DOCUMENT = REPO / "docs/seeding.md"
ADDRESS, NODE_ADDRESS = "192.0.2.10", "192.0.2.11"
PATH = f"{os.environ['PATH']}:/usr/sbin"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def missing(*programs: str) -> list[str]:
    return [program for program in programs if shutil.which(program, path=PATH) is None]


def block(language: str) -> str:
    """The one block of the document in that language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


def command_line(start: str) -> str:
    """The one command line of the document that begins so."""
    [found] = re.findall(rf"^\$ ({re.escape(start)}.*)$", DOCUMENT.read_text(), re.MULTILINE)
    return str(found)


class Host:
    """`images` is what the document calls /srv/images, debian-13.raw there is `image`; `log` is what programs said."""

    def __init__(self, directory: Path, image: bytes) -> None:
        self.namespace, self.node = f"art{os.getpid()}-host", f"art{os.getpid()}-node"
        self.directory, self.images = directory, directory / "images"
        self.images.mkdir()
        self.image = self.images / "debian-13.raw"
        self.image.write_bytes(image)
        self.started: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        ends = {self.namespace: ADDRESS, self.node: NODE_ADDRESS}
        for name in ends:
            run("ip", "netns", "add", name)
        run("ip", "-n", self.namespace, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", self.node)
        for name, address in ends.items():
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "v0")
            run("ip", "-n", name, "link", "set", "v0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")

    def down(self) -> None:
        for process in reversed(self.started):
            process.terminate()  # killed, nginx would leave its workers behind
            try:
                process.wait(HANG_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in (self.namespace, self.node):
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def run(self, start: str) -> None:
        """A command line of the document, to its end."""
        argv = self._inside("bash", "-c", self._here(command_line(start)))
        done = subprocess.run(argv, cwd=self.images, env=self._env(), capture_output=True, text=True, timeout=HANG_S)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, start: str) -> subprocess.Popen[bytes]:
        """A command line of the document that serves; ended by down()."""
        return self.serve("bash", "-c", f"exec {self._here(command_line(start))}")

    def serve(self, *argv: object) -> subprocess.Popen[bytes]:
        """Any program; ended by down()."""
        with (self.directory / "log").open("ab") as log:
            self.started.append(
                subprocess.Popen(
                    self._inside(*argv),
                    cwd=self.images,
                    env=self._env(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
        return self.started[-1]

    def nginx(self) -> None:
        """A web server with the site of the document."""
        (self.directory / "nginx.conf").write_text(
            f"daemon off; pid {self.directory}/pid; error_log {self.directory}/error.log; events {{ }}\n"
            f"http {{ access_log off; {self._here(block('nginx'))} }}\n"
        )
        self.serve("nginx", "-e", self.directory / "error.log", "-c", self.directory / "nginx.conf")
        wait_for(lambda: self.ask("/debian-13.raw"), "nginx")

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def ask(self, path: str, port: int = 80) -> Any:
        """(status, headers, body) of what is served there; None if nobody answers yet."""
        with inside(self.namespace):
            try:
                with DIRECT.open(f"http://{ADDRESS}:{port}{path}", timeout=HANG_S) as answer:
                    return answer.status, answer.headers, answer.read()
            except urllib.error.HTTPError as answer:
                return answer.code, answer.headers, answer.read()
            except (urllib.error.URLError, ConnectionError):
                return None

    def _inside(self, *argv: object) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *map(str, argv)]

    def _here(self, text: str) -> str:
        return text.replace("/srv/images", str(self.images)).replace("images.example", ADDRESS)

    def _env(self) -> dict[str, str]:
        # A checkout need not be installed to be tested.
        command = self.directory / "bin/agent-router"
        if not command.exists():
            command.parent.mkdir()
            command.write_text(f'#!/bin/sh\nPYTHONPATH={REPO} exec {sys.executable} -m agent_router "$@"\n')
            command.chmod(0o755)
        # What transmission-daemon keeps lies there.
        return {**os.environ, "PATH": f"{command.parent}:{PATH}", "TRANSMISSION_HOME": f"{self.directory}/transmission"}


@contextlib.contextmanager
def host_with(image: bytes) -> Iterator[Host]:
    # Not below tmp_path, which nobody but root may look into.
    directory = Path(tempfile.mkdtemp(prefix="agent-router-test-"))
    directory.chmod(0o755)
    made = Host(directory, image)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(directory)
