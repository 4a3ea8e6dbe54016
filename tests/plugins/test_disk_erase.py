import re
import subprocess
from pathlib import Path

import pytest

from tests.support.plugin import PluginFailed, problems

MIB = 1 << 20


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def content(device: str) -> bytes:
    return Path(device).read_bytes()


@pytest.mark.parametrize("request_", [
    {}, {"device": "sda"}, {"device": "/dev/sda", "method": "shred"}, {"device": "/dev/sda", "passes": 0},
    {"device": "/dev/sda", "passes": 1.5}, {"device": "/dev/sda", "unknown": 1},
])  # fmt: skip
def test_schema_refuses(request_):
    assert problems("disk.erase", "request", request_)


@pytest.mark.parametrize("method", ["auto", "secure", "discard", "zero"])
def test_schema_accepts(method):
    assert not problems("disk.erase", "request", {"device": "/dev/sda", "method": method, "passes": 3})


def test_refuses_what_is_no_block_device(call):
    with pytest.raises(PluginFailed, match="/dev/null is not a block device") as failed:
        call("disk.erase", device="/dev/null")
    assert failed.value.exit_status == 64


@pytest.mark.root
@pytest.mark.parametrize(("method", "stages"), [("zero", ["zero"]), ("auto", ["discard", "zero"])])
def test_leaves_nothing_but_zeros(call, loop_disk, method, stages):
    disk = loop_disk(size_mib=80)  # more than one chunk, and no multiple of it
    answer = call("disk.erase", device=disk, method=method)
    assert (answer["stages"], answer["bytes"]) == (stages, 80 * MIB)
    assert content(disk).count(0) == 80 * MIB
    done = [event for event in call.events if event.get("message") == "zero"]
    assert done[-1] == {"done": 80 * MIB, "total": 80 * MIB, "unit": "bytes", "message": "zero"}


@pytest.mark.root
def test_writes_as_many_passes_as_asked(call, loop_disk):
    disk = loop_disk(size_mib=8)
    call("disk.erase", device=disk, method="zero", passes=3)
    assert call.events[-1]["total"] == 3 * 8 * MIB


@pytest.mark.root
def test_discard_alone_warns(call, loop_disk):
    disk = loop_disk()
    assert call("disk.erase", device=disk, method="discard")["stages"] == ["discard"]
    assert "does not guarantee" in call.warnings[0]


@pytest.mark.root
def test_plan_writes_nothing(call, loop_disk):
    disk = loop_disk()
    before = content(disk)
    answer = call("disk.erase", action="plan", device=disk)
    assert answer == {"device": disk, "stages": ["discard", "zero"], "bytes": 0, "seconds": 0}
    assert content(disk) == before


@pytest.mark.root
def test_secure_is_refused_with_a_cure_where_the_disk_cannot(call, loop_disk):
    disk = loop_disk()
    before = content(disk)
    with pytest.raises(PluginFailed, match="neither an NVMe nor an ATA disk; use method auto or zero") as failed:
        call("disk.erase", device=disk, method="secure")
    assert failed.value.code == "unsupported"
    assert content(disk) == before


@pytest.mark.root
def test_leaves_a_mounted_disk_alone(call, loop_disk, tmp_path):
    disk = loop_disk()
    run("mkfs.ext4", "-q", "-F", disk)
    mountpoint = tmp_path / "a mount"
    mountpoint.mkdir()
    run("mount", disk, str(mountpoint))
    try:
        with pytest.raises(PluginFailed, match=f"is mounted at {re.escape(str(mountpoint))}") as failed:
            call("disk.erase", device=disk)
    finally:
        run("umount", str(mountpoint))
    assert (failed.value.code, failed.value.exit_status) == ("device_busy", 77)
    assert "ext4" in run("wipefs", "--no-act", disk)


@pytest.mark.root
def test_a_write_protected_disk_is_refused(call, loop_disk):
    disk = loop_disk()
    run("blockdev", "--setro", disk)
    with pytest.raises(PluginFailed) as failed:
        call("disk.erase", device=disk)
    run("blockdev", "--setrw", disk)
    assert failed.value.code == "read_only"


@pytest.mark.root
def test_sigterm_stops_between_chunks_and_tells_how_far(call, loop_disk):
    disk = loop_disk(size_mib=256)
    # Enough passes that it can never be through before the signal.
    running = call.start("disk.erase", device=disk, method="zero", passes=35)
    running.wait_for_event("done")
    running.terminate()
    with pytest.raises(PluginFailed, match="stopped during zero") as failed:
        running.finish()
    assert failed.value.code == "stopped"
    assert 0 <= failed.value.partial["bytes"] < 35 * 256 * MIB
    assert failed.value.partial["bytes"] % (64 * MIB) == 0
