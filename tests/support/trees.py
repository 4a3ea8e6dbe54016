"""A tree with everything that an archive must keep, archives of it, and file systems to unpack them into."""

import io
import os
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.packers import PACKERS

MIB = 1 << 20
# linux/capability.h: revision 2 with the effective bit; CAP_NET_RAW is 13.
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
# linux/posix_acl_xattr.h: version 2, then (tag, permissions, id): owner, user 77, group, mask, others.
NOBODY = 0xFFFFFFFF
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 6, NOBODY), (2, 4, 77), (4, 4, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY))
)

PACK: dict[str, Callable[[bytes], bytes]] = {"tar": bytes} | {f"tar.{form}": pack for form, pack in PACKERS.items()}


def fill(place: Path) -> None:
    """Owners, modes, times, links, holes, capabilities, ACLs, attributes, names."""
    for name in ("etc", "usr", "usr/bin", "var", "var/tmp"):
        (place / name).mkdir()
    (place / "usr/bin/su").write_text("set-uid")
    os.chown(place / "usr/bin/su", 1234, 4321)
    os.chmod(place / "usr/bin/su", 0o4751)
    os.link(place / "usr/bin/su", place / "usr/bin/sudo")
    (place / "usr/bin/ping").write_bytes(os.urandom(3 * MIB))
    os.setxattr(place / "usr/bin/ping", "security.capability", CAPABILITY)
    os.setxattr(place / "usr/bin/ping", "trusted.agent", b"1")
    (place / "etc/secret").write_text("for 77")
    os.setxattr(place / "etc/secret", "system.posix_acl_access", ACL)
    os.setxattr(place / "var", "system.posix_acl_default", ACL)
    os.symlink("../proc/self/mounts", place / "etc/mtab")
    os.symlink("usr/bin", place / "bin")
    os.mkfifo(place / "var/fifo")
    (place / "etc/n\xe4me\nof two lines").touch()
    with (place / "var/sparse").open("wb") as file:
        file.seek(9 * MIB)
        file.write(b"end")
    os.chmod(place / "var/tmp", 0o1777)
    os.utime(place / "etc", ns=(0, 1_000_000_000_123_456_789))


def pack(place: Path) -> bytes:
    argv = ["tar", "--create", "--sparse", "--acls", "--xattrs", "--xattrs-include=*", "--directory", str(place), "."]
    return subprocess.run(argv, capture_output=True, check=True).stdout


def found(place: Path) -> dict[str, Any]:
    """All that is kept of each file below `place`, by name."""
    every = (path for path in sorted(place.rglob("*")) if path.name != "lost+found")
    return {str(path.relative_to(place)): _facts(path) for path in every}


def _facts(path: Path) -> tuple[Any, ...]:
    status = path.lstat()
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
    }
    what: Any = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    links = status.st_nlink if path.is_file() else None
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, links, attributes, what


def members(*given: tuple[str, bytes, str]) -> bytes:
    """An archive of (name, type, content or target), which no tar would pack."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, text in given:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(text)
            else:
                info.linkname = text
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture
def mounted(loop_disk: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`mounted(32)` is the directory where a new ext4 of so many MiB is mounted."""
    made: list[Path] = []

    def make(size_mib: int = 32) -> Path:
        device, place = loop_disk(size_mib), tmp_path / f"target {len(made)}"
        place.mkdir()
        subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True)
        subprocess.run(["mount", device, str(place)], check=True)
        made.append(place)
        return place

    yield make
    for place in reversed(made):
        subprocess.run(["umount", "--recursive", str(place)], check=True)
