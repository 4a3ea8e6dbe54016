"""Fixtures: file systems that are mounted for one test."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.loop import LoopDevice, skip_without_loop_devices


@pytest.fixture
def mounted_tmpfs(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`mounted_tmpfs("8m")` is an empty file system of that size."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts file systems")
    made: list[Path] = []

    def make(size: str) -> Path:
        place = tmp_path / f"mounted {len(made)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)
        made.append(place)
        return place

    yield make
    for place in reversed(made):
        subprocess.run(["umount", "--recursive", str(place)], check=True)


@pytest.fixture
def loop_file_system(tmp_path: Path) -> Iterator[Callable[[], tuple[str, Path]]]:
    """`loop_file_system()` is a loop device and where its new ext4 is mounted."""
    skip_without_loop_devices()
    made: list[tuple[LoopDevice, Path]] = []

    def make() -> tuple[str, Path]:
        file, place = tmp_path / f"disk {len(made)}", tmp_path / f"at {len(made)}"
        place.mkdir()
        with file.open("wb") as out:
            out.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(file)], check=True)
        device = LoopDevice(file)
        made.append((device, place))
        subprocess.run(["mount", device.path, str(place)], check=True)
        return device.path, place

    yield make
    for device, place in reversed(made):
        subprocess.run(["umount", str(place)], check=False)
        device.close()
