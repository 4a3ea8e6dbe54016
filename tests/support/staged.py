"""qcow2 images that are kept at the end of a disk until they are unpacked."""

import subprocess
from pathlib import Path

from tests.support.disk_content import MIB, content, noise


def qcow2_of(directory: Path, size: int = 3 * MIB) -> tuple[bytes, bytes]:
    """(raw, qcow2) of an image of noise."""
    raw, packed = directory / "staged.raw", directory / "staged.qcow2"
    raw.write_bytes(noise(size))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, packed], check=True)
    return raw.read_bytes(), packed.read_bytes()


def assert_staged(disk: str, raw: bytes) -> None:
    """The image is there, and nothing of the published file at the end of the disk."""
    data = content(disk)
    assert data[: len(raw)] == raw
    assert b"QFI\xfb" not in data[len(raw) :]
    assert not any(data[-MIB:])
