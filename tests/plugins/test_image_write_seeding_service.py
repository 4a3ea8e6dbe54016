"""The systemd unit of docs/seeding.md: is it one, how much may it do, and does it serve when it may do no more?"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.disk_content import noise
from tests.support.lan import inside
from tests.support.plugin import REPO
from tests.support.waiting import HANG_S, wait_for

UNIT = REPO / "docs/agent-router-seed.service"
EXPOSURE = "20"  # tenths: what systemd calls OK begins at 2.5 and below, the unit has 1.5
MIB = 1 << 20

# What the unit asks systemd for, as far as mount(8) and setpriv(1) can do it too: $1 is an image, then the command.
SANDBOX = """
set -e
mount -t tmpfs -o mode=755 none /srv
mkdir /srv/images
install --mode 644 "$1" /srv/images
mount -o remount,bind,ro /
shift
exec setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
AS_NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze, of the package systemd")
    argv = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S, check=False)


def said(path: Path) -> str:
    done = analyze("verify", path)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


def test_systemd_has_nothing_to_say_about_it(tmp_path):
    assert said(UNIT) == ""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("PrivateTmp", "PrivateTemp"))
    assert "PrivateTemp" in said(path), "it would have told"


def test_it_may_do_little(tmp_path):
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", UNIT)
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"^(CapabilityBoundingSet|SystemCallFilter)=.*\n", "", UNIT.read_text(), flags=re.MULTILINE))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", path).returncode != 0


@pytest.fixture
def host():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip: makes network namespaces")
    if subprocess.run([*AS_NOBODY, sys.executable, "-c", "import agent_router"], cwd=REPO, check=False).returncode:
        pytest.skip("needs a checkout and an interpreter that the user nobody can read")
    pytest.importorskip("libtorrent", minversion="2.1")
    from tests.support.seeding_host import host_with

    with host_with(noise(3 * MIB + 12800)) as made:
        yield made


@pytest.mark.root
@pytest.mark.swarm
def test_its_command_serves_where_it_may_do_no_more(call, host, loop_disk):
    image = host.image.read_bytes()
    published = host.image.rename(host.images / "debian-13.raw.zst")  # named so for the pattern of the unit only
    command = shlex.split(re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)[0])
    process = host.serve("unshare", "--mount", "bash", "-c", SANDBOX, "sandbox", published, *command)
    wait_for(lambda: "by HTTP, BitTorrent (port 6881)" in host.log, "the service")
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert [re.search(rf"^{key}:\s*(\S+)", status, re.MULTILINE)[1] for key in ("Uid", "CapBnd", "NoNewPrivs")] == [
        "65534",
        "0" * 16,
        "1",
    ]
    given = {}
    for way, kind in (("http", ""), ("torrent", ".torrent")):
        disk = loop_disk(8)
        with inside(host.node):
            given[way] = call(
                "image.write",
                device=disk,
                sources=f"http://192.0.2.10:8000/{published.name}{kind}",
                digest=hashlib.sha256(image).hexdigest(),
                patience_s=HANG_S,
            )
        assert given[way]["transport"] == way
        assert Path(disk).read_bytes()[: len(image)] == image
    assert given["torrent"]["stats"]["bytes_by_peers"] > 0
    process.terminate()
    assert process.wait(HANG_S) == 0, host.log
