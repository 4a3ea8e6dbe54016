"""The environment of the demo: loop disks, a real disk image, a slow web server, an agent."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MIB = 1 << 20
AGENT = Path(sys.executable).parent / "agent-router"


class World:
    """Everything the demo creates; `close` removes it, whatever happened."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="agent-router-demo-"))
        self.disks: list[str] = []
        self.agent: subprocess.Popen[bytes] | None = None
        self.server: http.server.ThreadingHTTPServer | None = None
        self.state = Path(tempfile.mkdtemp(prefix="agent-router-demo-", dir="/dev/shm"))
        self.token = secrets.token_hex(16)
        self.port = free_port()

    def make_disk(self, mib: int) -> str:
        """A loop disk full of random data, with a partition table."""
        file = self.folder / f"disk{len(self.disks)}.img"
        with file.open("wb") as out:
            for _ in range(mib):
                out.write(os.urandom(MIB))
        disk = run("losetup", "--find", "--show", str(file)).strip()
        self.disks.append(disk)
        run("sfdisk", "--quiet", disk, stdin="label: gpt\n,16M\n,\n")
        return disk

    def make_image(self, mib: int) -> tuple[Path, str]:
        """Create a raw image, an ext4 file system with a file in it; returns its path and SHA-256."""
        content = self.folder / "content"
        content.mkdir()
        (content / "hello.txt").write_text("This file came over HTTP, through agent-router, onto a disk.\n")
        (content / "payload.bin").write_bytes(os.urandom(mib * MIB // 2))
        image = self.folder / "www" / "cloud.raw"
        image.parent.mkdir()
        run("mke2fs", "-q", "-t", "ext4", "-L", "demo-os", "-d", str(content), str(image), f"{mib}M")
        with image.open("rb") as file:
            return image, hashlib.file_digest(file, "sha256").hexdigest()

    def serve_images(self, folder: Path, mib_per_s: float) -> str:
        """Start a web server on loopback, limited to `mib_per_s`, or 1 MiB/s for URL?slowly; returns its URL."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), slow_handler(folder, mib_per_s))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.server = server
        return f"http://127.0.0.1:{server.server_port}"

    def start_agent(self) -> None:
        for name in ("plugins.d", "schemas"):
            (self.folder / name).mkdir(mode=0o755)
        devices = [word for disk in self.disks for word in ("--devices", disk)]
        argv = [str(AGENT), "serve", "--port", str(self.port), "--state", str(self.state), *devices]
        argv += ["--plugins", str(self.folder / "plugins.d"), "--schemas", str(self.folder / "schemas")]
        environ = {**os.environ, "AGENT_ROUTER_TOKEN": self.token}
        self.agent = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait()
        if self.server is not None:
            self.server.shutdown()
        for disk in self.disks:
            subprocess.run(["losetup", "--detach", disk], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)


def slow_handler(folder: Path, mib_per_s: float) -> type[http.server.SimpleHTTPRequestHandler]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def copyfile(self, source: object, outputfile: object) -> None:
            while data := source.read(MIB // 4):  # type: ignore[attr-defined]
                try:
                    outputfile.write(data)  # type: ignore[attr-defined]
                except OSError:
                    return
                time.sleep(0.25 / (1 if self.path.endswith("?slowly") else mib_per_s))

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def kill_front(supervisor: int) -> int:
    """Kill a supervisor's HTTP front with SIGKILL, like a crash; returns its pid."""
    for entry in Path("/proc").iterdir():
        try:
            title = (entry / "cmdline").read_bytes().rstrip(b"\0")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if (title, parent) == (b"agent-router: front", supervisor):
            os.kill(int(entry.name), signal.SIGKILL)
            return int(entry.name)
    return 0


def run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"demo: {' '.join(argv)} failed: {done.stderr.strip()}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def compact(value: object, limit: int = 150) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + " …"
