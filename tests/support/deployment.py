"""Fixtures of the tests that write images: a web server, a root device, and the call."""

import base64
import gzip
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.disks import MIB, only_disks, remembering
from tests.support.image_server import ImageServer

STEP = "deploy.write_image"


@pytest.fixture
def serve():
    servers = []

    def start(body, **more):
        servers.append(ImageServer(body, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def root_disk(call, fake_tool, loop_disk, tmp_path):
    """A disk of 100 MiB full of garbage, that is found as the root device by its serial."""
    device = loop_disk(100)
    only_disks(call, fake_tool, device, **{Path(device).name: {"serial": "ROOT"}})
    remembering(call, tmp_path / "state")
    return device


def deploy(call, server, image, **more):
    info = {"id": "img", "urls": [server.url], "checksum": hashlib.sha256(image).hexdigest(), **more.pop("info", {})}
    return call(STEP, image_info=info, root_device={"serial": "root"}, **more)


def packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def ext(size: int) -> bytes:
    """What a look takes for an ext file system, and no tool for one that it can mount."""
    return bytes(1080) + b"\x53\xef" + os.urandom(size - 1082)


def config_drive(tmp_path: Path, label: str = "config-2", size: int = MIB) -> bytes:
    """A real vfat file system with that label."""
    path = tmp_path / "drive"
    path.write_bytes(bytes(size))
    subprocess.run(["mkfs.vfat", "-n", label.upper(), path], check=True, capture_output=True)
    return path.read_bytes()


@pytest.fixture
def disk_of_4k_sectors(call, fake_tool, loop_disk, tmp_path):
    device = loop_disk(100, sector_size=4096)
    remembering(call, tmp_path / "state")
    only_disks(call, fake_tool, device, **{Path(device).name: {"serial": "ROOT"}})
    return device
