"""One aria2c, asked by its JSON-RPC on loopback; it ends with us, however that is."""

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.image.torrent.session import Limits

START_S = 20.0
TRIES = 3  # another program may take the free port first
LARGEST_REQUEST = "64M"  # a torrent file of 32 MiB in base64
# aria2c(1). Nothing of a node is told to the internet; the pieces are checked by their hashes, the image by its digest.
OPTIONS = {
    "enable-dht": "false", "enable-dht6": "false", "bt-enable-lpd": "true", "check-certificate": "false",
    # A disk is neither made longer nor replaced by a file beside it.
    "file-allocation": "none", "allow-overwrite": "true", "auto-file-renaming": "false", "auto-save-interval": "0",
    # What it says that it has is there to be read.
    "disk-cache": "0",
    "bt-prioritize-piece": "head=1M", "bt-max-peers": "55", "peer-agent": "agent-router", "seed-ratio": "0.0",
    "console-log-level": "warn", "summary-interval": "0", "download-result": "hide", "show-console-readout": "false",
}  # fmt: skip


class Aria2Process:
    """call() until close(). `directory` is its own, below `work`; what it fetches goes there."""

    def __init__(self, limits: Limits, work: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="aria2-", dir=work))
        self._secret = secrets.token_hex(16)
        for left in reversed(range(TRIES)):
            self._port = _free_port()
            self._process = self._start(limits)
            try:
                self._wait()
                break
            except plugin.Failed:
                self._end()
                if not left:
                    shutil.rmtree(self.directory, ignore_errors=True)
                    raise

    def call(self, method: str, *params: Any) -> Any:
        """The result; raises plugin.Failed with what aria2 said, ConnectionError when it does not answer."""
        body = {"jsonrpc": "2.0", "id": "1", "method": method, "params": [f"token:{self._secret}", *params]}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=START_S)
        try:
            connection.request("POST", "/jsonrpc", json.dumps(body), {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        except (http.client.HTTPException, ValueError, TimeoutError) as error:
            raise ConnectionError(str(error)) from None
        finally:
            connection.close()
        if "error" in answer:
            raise plugin.Failed("no_source", f"aria2c refused {method}: {answer['error'].get('message')}")
        return answer["result"]

    def last_words(self) -> str:
        lines = (self.directory / "log").read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def close(self) -> None:
        self._end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, limits: Limits) -> "subprocess.Popen[bytes]":
        options = OPTIONS | {
            "enable-rpc": "true",
            "rpc-listen-port": str(self._port),
            "rpc-secret": self._secret,
            "rpc-max-request-size": LARGEST_REQUEST,
            "dir": str(self.directory),
            "listen-port": f"{limits.port}-{limits.port + 99}",
            "max-overall-upload-limit": str(limits.upload_bps),
        }
        if limits.listen:
            options |= {"interface": limits.listen, "bt-lpd-interface": limits.listen}
        # A file, since every process can read the arguments of another.
        settings = self.directory / "settings"
        settings.write_text("".join(f"{key}={value}\n" for key, value in options.items()))
        with (self.directory / "log").open("wb") as log:
            # Of a group of its own: a cancel is for the plugin, which wants to hear from it how much was given away.
            return subprocess.Popen(
                ["aria2c", f"--conf-path={settings}", f"--stop-with-process={os.getpid()}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def _wait(self) -> None:
        give_up = time.monotonic() + START_S
        while True:
            try:
                self.call("aria2.getVersion")
                return
            except ConnectionError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise plugin.Failed("no_source", f"aria2c did not start: {self.last_words()}") from None
                time.sleep(0.02)

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
