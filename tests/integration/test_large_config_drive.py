"""Ironic sends a config drive of 64 MiB three times in one request; a small ramdisk must not run out of memory."""

import base64
import functools
import gzip
import hashlib
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.agent import MARK, Agent
from tests.support.certificates import client_context

pytestmark = [pytest.mark.root, pytest.mark.slow]

MIB = 1 << 20
# The request itself has 256 MiB. Our ramdisk leaves about 400 MiB beside the idle agent on a machine of 768 MiB.
LIMIT_MIB = 420
# Loop devices are no disks for lsblk, and so for nobody who chooses one; here the only disk is the test's.
LSBLK = """#!/bin/bash
set -o pipefail
[[ ${!#} == /dev/* ]] || set -- "$@" %s
%s "$@" | sed 's/"type": *"loop"/"type": "disk"/'
"""
ENTER = 'mount --bind /usr/bin/lsblk "$1/lsblk.real" && mount --bind "$1/lsblk" /usr/bin/lsblk && shift && exec "$@"'


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "web"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    backing = tmp_path / "disk"
    with backing.open("wb") as file:
        file.truncate(256 * MIB)
    argv = ["losetup", "--find", "--show", str(backing)]
    device = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=False)


class Memory(threading.Thread):
    """Watches what all processes of an agent and the files of its state directory take together."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self._agent, self._over = agent, threading.Event()
        self.peak = {"all": 0.0}

    def run(self) -> None:
        while not self._over.wait(0.1):
            pids = processes.marked(MARK, str(self._agent.root))
            files = files_mib(self._agent.state)
            found = {f"{pid} {processes.title(pid)[-30:]}": pss_mib(pid) for pid in pids}
            shares = {name: whole for name, (whole, _) in found.items()}
            mapped = sum(part for _, part in found.values())  # of the state directory: counted once
            shares["state"] = max(0.0, files - mapped)
            if (total := sum(shares.values())) > self.peak["all"]:
                self.peak = {"all": total, **shares}

    def stop(self) -> None:
        self._over.set()
        self.join()


def pss_mib(pid: int) -> tuple[float, float]:
    """All, and what of it are files in memory."""
    lines = processes.read(pid, "smaps_rollup").decode().splitlines()
    whole, files = (
        sum(int(line.split()[1]) for line in lines if line.startswith(kind)) for kind in ("Pss:", "Pss_Shmem:")
    )
    return whole / 1024, files / 1024


def files_mib(directory: Path) -> float:
    """The state directory is memory in a ramdisk."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total / MIB


def config_drive(place: Path) -> bytes:
    """A vfat of 64 MiB, labelled config-2, that gzip cannot make smaller."""
    place.write_bytes(os.urandom(64 * MIB))
    subprocess.run(["mkfs.vfat", "-n", "CONFIG-2", str(place)], check=True, capture_output=True)
    return place.read_bytes()


def as_ironic_sends_it(url: str, image: bytes, drive: str, disk: str) -> bytes:
    info = {
        "id": "image",
        "urls": [url],
        "disk_format": "raw",
        "os_hash_algo": "sha256",
        "os_hash_value": hashlib.sha256(image).hexdigest(),
        "configdrive": drive,
    }
    node = {
        "uuid": "1be26c0b-03f2-4d2e-ae87-c02d7f33c123",
        "properties": {"root_device": {"name": disk}},
        "instance_info": {"configdrive": drive},
        "driver_internal_info": {},
    }
    step = {"interface": "deploy", "step": "write_image", "args": {"image_info": info, "configdrive": drive}}
    params = {"step": step, "node": node, "ports": [], "deploy_version": None}
    return json.dumps({"name": "deploy.execute_deploy_step", "params": params}).encode()


@pytest.fixture
def agent(fresh_agent, certificate, disk, tmp_path):
    cert, key = certificate
    made = fresh_agent(
        f"--cert={cert}",
        f"--key={key}",
        "--max-request-mib=320",
        f"--devices={disk}",
        tls=client_context(cert),
        start=False,
    )
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "lsblk.real").touch()
    (fakes / "lsblk").write_text(LSBLK % (disk, fakes / "lsblk.real"))
    (fakes / "lsblk").chmod(0o755)
    made.prefix = ("unshare", "--mount", "sh", "-ec", ENTER, "enter", str(fakes))
    return made.start()


def test_a_config_drive_of_64_mib_that_comes_three_times(agent, disk, web, tmp_path):
    image, drive = tmp_path / "web/image.raw", config_drive(tmp_path / "drive")
    image.write_bytes(bytes(16 * MIB))
    subprocess.run(["sgdisk", "--new=1:2048:0", str(image)], check=True, capture_output=True)
    encoded = base64.b64encode(gzip.compress(drive, 0)).decode()
    body = as_ironic_sends_it(f"{web}/image.raw", image.read_bytes(), encoded, disk)
    assert len(body) > 250 * MIB

    memory = Memory(agent)
    memory.start()
    try:
        reply = agent.request("POST", "/v1/commands/?wait=false", body)
        assert (reply.status, reply.json["command_status"]) == (200, "RUNNING"), reply.body[:500]
        ended = agent.ended(reply.json["id"])
    finally:
        memory.stop()
    assert ended["command_status"] == "SUCCEEDED", str(ended)[:1000]
    last = json.loads(subprocess.run(["sfdisk", "--json", disk], check=True, capture_output=True).stdout)
    with open(disk, "rb") as file:
        file.seek(last["partitiontable"]["partitions"][-1]["start"] * 512)
        assert file.read(len(drive)) == drive
    assert memory.peak["all"] < LIMIT_MIB, memory.peak
    assert files_mib(agent.state) < 1, "the config drive is kept nowhere"
