"""What the tests of image.write have in common."""

import hashlib
import os
from pathlib import Path

MIB = 1 << 20
SHA = "9" * 64


def noise(size: int) -> bytes:
    """An image of random bytes with a boot record, without which nothing tells that it is a disk."""
    return os.urandom(510) + b"\x55\xaa" + os.urandom(size - 512)


def content(device: str) -> bytes:
    return Path(device).read_bytes()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_boots_nothing(disk: str) -> None:
    data = content(disk)
    assert data[:MIB].count(0) == MIB
    assert data[-MIB:].count(0) == MIB


def assert_told_truly(disk: str, before: bytes, partial: dict[str, object] | None) -> None:
    """A source may break off before the first byte was written, or after: the error says which, and is right."""
    assert partial is not None
    if partial["disk"] == "untouched":
        assert content(disk) == before
    else:
        assert_boots_nothing(disk)
