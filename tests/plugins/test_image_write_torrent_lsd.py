"""Neighbours that find each other by local service discovery: no tracker, no web seed, nobody named."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plugin import PLUGINS, REPO
from tests.support.waiting import HANG_S

pytest.importorskip("libtorrent", minversion="2.1")
pytestmark = [pytest.mark.root, pytest.mark.swarm]
MIB = 1 << 20
# A seeder in a process of its own, since a network namespace is a thing of processes.
SEEDER = """
import sys
from pathlib import Path
from tests.support.swarm import Seeder
seeder = Seeder(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), listen="")
sys.stdin.read()  # to the end of the test, however it ends
"""


@pytest.fixture
def network():
    """Two namespaces joined by one wire: 10.98.0.1 and 10.98.0.2."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip: makes network namespaces")
    names = [f"art{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        pair = ["v0", "netns", names[0], "type", "veth", "peer", "name", "v0", "netns", names[1]]
        subprocess.run(["ip", "link", "add", *pair], check=True)
        for number, name in enumerate(names, 1):
            for argv in (
                ["addr", "add", f"10.98.0.{number}/24", "dev", "v0"],
                ["link", "set", "v0", "up"],
                ["link", "set", "lo", "up"],
                ["route", "add", "default", "dev", "v0"],
            ):
                subprocess.run(["ip", "-n", name, *argv], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def test_local_service_discovery(network, loop_disk, tmp_path):
    from tests.support.swarm import torrent_of

    image, disk = os.urandom(5 * MIB), loop_disk(8)
    path = tmp_path / "disk.raw"
    path.write_bytes(image)
    (tmp_path / "disk.torrent").write_bytes(torrent_of(path))
    env = {**os.environ, "PYTHONPATH": f"{REPO}:{Path(__file__).parent}"}
    seeder = subprocess.Popen(
        ["ip", "netns", "exec", network[0], sys.executable, "-c", SEEDER, tmp_path / "disk.torrent", path],
        env=env, stdin=subprocess.PIPE,
    )  # fmt: skip
    try:
        request = {"device": disk, "sources": str(tmp_path / "disk.torrent"), "patience_s": HANG_S}
        done = subprocess.run(
            ["ip", "netns", "exec", network[1], sys.executable, PLUGINS / "image.write"],
            input=json.dumps(request),
            env={**env, "AGENT_DEVICES": "/dev/loop*"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
    finally:
        seeder.communicate()
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["stats"]["bytes_by_peers"] >= len(image)
    assert Path(disk).read_bytes()[: len(image)] == image
