"""Images published for the tests by the real `agent-router seed`, at the near end of a machine's cable."""

import hashlib
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.cable import HERE, Cable
from tests.support.disk_images import MIB, SIZE_MIB, START_MIB, part_digest
from tests.support.machine import REPO

PORTBASE = 9240


class Seed:
    """`disk.raw` has a GPT and one partition full of noise, `disk.qcow2` is the same; all ways lead to both."""

    def __init__(self, directory: Path, cable: Cable) -> None:
        self.raw, self.qcow2 = directory / "disk.raw", directory / "disk.qcow2"
        with self.raw.open("wb") as file:
            file.seek(START_MIB * MIB)
            file.write(os.urandom(SIZE_MIB * MIB))
            file.truncate((START_MIB + SIZE_MIB + 1) * MIB)
        table = f"label: gpt\nstart={START_MIB}MiB, size={SIZE_MIB}MiB, type=L\n"
        subprocess.run(["sfdisk", "--quiet", str(self.raw)], input=table, text=True, check=True)
        convert = ["qemu-img", "convert", "-c", "-O", "qcow2", str(self.raw), str(self.qcow2)]
        subprocess.run(convert, check=True)
        self.partition = part_digest(self.raw)
        command = [
            sys.executable, "-m", "agent_router", "seed", self.raw, self.qcow2, "--bind", HERE, "--port", "0",
            "--multicast", "--interface", cable.bridge, "--portbase", str(PORTBASE), "--receivers", "2", "--wait", "0",
        ]  # fmt: skip
        environ = {**os.environ, "PYTHONPATH": str(REPO)}
        with (directory / "seed.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environ)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if found := re.search(r"ready at (\S+)/ by (.*)", line):
                self.url, self.ways = found.groups()
                return
        raise AssertionError(f"{said} {(directory / 'seed.log').read_text()}")

    def instance_info(self, name: str, algorithm: str = "sha256", form: str = "raw") -> dict[str, Any]:
        """What Ironic must know to deploy NAME, NAME.torrent or NAME.meta4: the digest is always that of the image."""
        image = self.qcow2 if ".qcow2" in name else self.raw
        return {
            "image_source": f"{self.url}/{name}",
            "image_disk_format": form,
            "image_os_hash_algo": algorithm,
            "image_os_hash_value": hashlib.new(algorithm, image.read_bytes()).hexdigest(),
        }

    def by_checksum_file(self, name: str, form: str = "raw") -> dict[str, Any]:
        return {
            "image_source": f"{self.url}/{name}",
            "image_disk_format": form,
            "image_checksum": f"{self.url}/SHA256SUMS",
        }

    def fetch(self, name: str) -> str:
        with urllib.request.urlopen(f"{self.url}/{name}", timeout=10) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=20)
