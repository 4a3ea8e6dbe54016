"""An image larger than the memory of the machine that writes it. The figures are told at the end of the run.

RAMDISK_FORMS="raw zst qcow2" asks for more forms than usual; raw takes more than a minute.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from machine_parts import MIB

from tests.support import guest_deployments
from tests.support.rack import Guest, Rack, first_difference
from tests.support.tap_lan import SERVER

SIZE_MIB, DATA_MIB, PORT = 1024, 150, 8001
NAMES = {"raw": "large.raw", "zst": "large.raw.zst", "qcow2": "large.qcow2"}
FORMS = os.environ.get("RAMDISK_FORMS", "zst qcow2").split()
PSS_MIB = 48  # whatever the size of the image
# Once a second until the file appears: memory that is left in the machine, and what image.write takes, in KiB.
WATCH = """
low=1000000000 peak=0
while [ ! -e /run/watch.end ]; do
    while read -r key value _; do
        [ "$key" != MemAvailable: ] || [ "$value" -ge "$low" ] || low=$value
    done </proc/meminfo
    sum=0
    for pid in $(pgrep -f 'image[.]write$'); do
        while read -r key value _; do
            [ "$key" != Pss: ] || sum=$((sum + value))
        done </proc/$pid/smaps_rollup
    done 2>/dev/null
    [ "$sum" -le "$peak" ] || peak=$sum
    sleep 1
done
rm /run/watch.end
echo $low $peak
"""


@dataclass
class Memory:
    """In MiB."""

    least_available: int = 0
    peak: int = 0


@contextlib.contextmanager
def watched(guest: Guest) -> Iterator[Memory]:
    """Filled in at the end of the block."""
    found = Memory()
    watch = guest.api.start("test.shell", {"script": WATCH})
    try:
        yield found
    finally:
        guest.shell("touch /run/watch.end")
        output = guest.api.ended(watch["id"])["command_result"]["output"]
    found.least_available, found.peak = (int(word) >> 10 for word in output.split())


@pytest.fixture(scope="module")
def large(deployed: Any) -> Iterator[Path]:
    """The directory with the image in all forms; those that are asked for are served."""
    lan, work = deployed.publication.lan, deployed.publication.work
    raw, packed, qcow2 = (work / name for name in NAMES.values())
    with raw.open("wb") as file:
        file.truncate(SIZE_MIB * MIB)
        for number in range(DATA_MIB):
            file.seek(number * SIZE_MIB // DATA_MIB * MIB)
            file.write(os.urandom(MIB // 2) * 2)
    lan.run("zstd", "--quiet", "-T0", raw, "-o", packed)
    lan.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    images = [work / NAMES[form] for form in FORMS]
    guest_deployments.seed(lan, work / "large.log", *images, "--no-torrent", "--port", PORT)
    yield work
    for file in (raw, packed, qcow2):
        file.unlink()


@pytest.mark.parametrize("form", FORMS)
def test_an_image_larger_than_memory(guest: Guest, rack: Rack, large: Path, form: str):
    assert guest.machine.memory_mib < SIZE_MIB
    name = NAMES[form]
    with (large / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    guest_deployments.connect(guest)
    device = guest.device("LARGE")
    with watched(guest) as memory:
        before = guest.machine.cpu_seconds
        result = guest.api.call(
            "image.write", device=device, format=form, digest=digest, sources=f"http://{SERVER}:{PORT}/{name}"
        )
        cpu_s = guest.machine.cpu_seconds - before
    rack.notes.append(
        f"{SIZE_MIB} MiB {form} of {result['bytes_read'] / MIB:.0f} MiB: {result['seconds']:.1f} s, {cpu_s:.1f} CPU s, "
        f"PSS of image.write {memory.peak} MiB, available in the machine {memory.least_available} MiB"
    )
    assert result["bytes_written"] == SIZE_MIB * MIB
    assert first_difference(large / NAMES["raw"], guest.disk_file("LARGE")) is None
    assert 8 < memory.peak <= PSS_MIB
