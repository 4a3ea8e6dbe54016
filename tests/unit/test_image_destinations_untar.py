import io
import os
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_router.image.destinations.untar import Untar, leads_out
from agent_router.plugin import Failed

# linux/posix_acl_xattr.h: version 2, then (tag, permissions, id): owner rwx, user 77 r, group r-x, mask r-x, others x.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, number)
    for tag, bits, number in ((1, 7, 2**32 - 1), (2, 4, 77), (4, 5, 2**32 - 1), (16, 5, 2**32 - 1), (32, 1, 2**32 - 1))
)
Member = tuple[str, bytes, str]  # name, type, link or content


def archive(*members: Member, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode, info.uid, info.gid = 0o755, os.getuid(), os.getgid()  # which everybody may set
            if kind == tarfile.REGTYPE:
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
            else:
                info.linkname = text
                tar.addfile(info)
    return out.getvalue()


def unpack(data: bytes, into: Path, allow_devices: bool = False, step: int = 1 << 20) -> Untar:
    untar = Untar(str(into), "x.tar", allow_devices)
    try:
        for offset in range(0, len(data), step):
            untar.write(data[offset : offset + step])
        untar.finish()
    finally:
        untar.stop()
    return untar


FILE, DIR, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("step", [100, 512, 10240, 1 << 20])
def test_unpacks_what_arrives_in_any_pieces(tmp_path: Path, step: int) -> None:
    members = [
        ("d", DIR, ""),
        ("d/f", FILE, "text" * 999),
        ("l", LINK, "d/f"),
        ("h", HARD, "d/f"),
        ("d/" + "n" * 240, FILE, "x"),
    ]
    found = unpack(archive(*members), tmp_path, step=step)
    assert found.members == 5
    assert (tmp_path / "l").read_text() == "text" * 999
    assert (tmp_path / "h").samefile(tmp_path / "d/f")
    assert (tmp_path / "d" / ("n" * 240)).read_text() == "x"


HOSTILE: dict[str, tuple[list[Member], str]] = {
    "absolute": ([("/etc/passwd", FILE, "x")], "has an absolute path"),
    "dots": ([("a/../../b", FILE, "x")], "leads out of the directory by .."),
    "hard link out": ([("a", HARD, "/etc/passwd")], "absolute path '/etc/passwd'"),
    "hard link by dots": ([("a", HARD, "../b")], r"by \.\."),
    "through a link": ([("a", LINK, "/etc"), ("a/passwd", FILE, "x")], "written through the link 'a' to '/etc'"),
    "through a relative link": ([("d", DIR, ""), ("d/a", LINK, "../.."), ("d/a/b", FILE, "x")], "through the link"),
    "hard link through a link": ([("a", LINK, "/etc"), ("b", HARD, "a/passwd")], "through the link"),
    "device": ([("sda", tarfile.BLKTYPE, "")], 'device node; "allow_devices": true'),
    "character device": ([("null", tarfile.CHRTYPE, "")], "device node"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_hostile_members_are_refused_by_name(tmp_path: Path, name: str, form: int) -> None:
    members, why = HOSTILE[name]
    with pytest.raises(Failed, match=why) as caught:
        unpack(archive(("good", FILE, "x"), *members, ("after", FILE, "x"), form=form), tmp_path)
    assert caught.value.code == "unsafe_image"
    assert not (tmp_path / "after").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"good", "a", "d"}


def test_links_that_systems_have_are_kept(tmp_path: Path) -> None:
    members = [
        ("usr", DIR, ""),
        ("usr/lib", DIR, ""),
        ("lib", LINK, "usr/lib"),
        ("lib/libc", FILE, "x"),
        ("etc", DIR, ""),
        ("etc/mtab", LINK, "../proc/self/mounts"),
        ("run", LINK, "/run"),
    ]
    unpack(archive(*members), tmp_path)
    assert (tmp_path / "usr/lib/libc").read_text() == "x"
    assert os.readlink(tmp_path / "run") == "/run"


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [("a", "b", False), ("a", "..", True), ("d/a", "..", False), ("d/a", "../..", True), ("a", "/", True),
     ("a", "x/../..", True), ("d/a", "../b/../c", False)],
)  # fmt: skip
def test_leads_out(path: str, target: str, out: bool) -> None:
    assert leads_out(path, target) is out


GOOD = archive(("a", FILE, "x" * 5000), ("b", FILE, "y" * 5000))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_image"), (b"\0" * 10240, "bad_image"), (b"no archive" * 200, "bad_image"),
        (GOOD[:3000], "truncated"), (GOOD[:7000], "truncated"), (GOOD[: 512 + 5120], "truncated"),
        (GOOD + b"trailing" * 100, "bad_image"),
    ],
)  # fmt: skip
def test_broken_archives(tmp_path: Path, data: bytes, code: str) -> None:
    with pytest.raises(Failed) as caught:
        unpack(data, tmp_path)
    assert caught.value.code == code


def test_stop_ends_tar_at_once(tmp_path: Path) -> None:
    untar = Untar(str(tmp_path), "x.tar", False)
    untar.write(GOOD[:6000])
    untar.stop()
    assert untar._tar.poll() is not None
    assert not untar.is_alive()


def test_a_full_file_system_is_told_in_tars_words(tmp_path: Path, mounted_tmpfs: Callable[[str], Path]) -> None:
    place = mounted_tmpfs("64k")
    with pytest.raises(Failed, match=r"x.tar: tar: big: (Wrote only|.*No space)") as caught:
        unpack(archive(("big", FILE, "x" * 200_000)), place)
    assert caught.value.code == "too_large"


def test_attributes_owners_holes_and_acls_survive(tmp_path: Path, mounted_tmpfs: Callable[[str], Path]) -> None:
    source = mounted_tmpfs("16m")
    (source / "f").write_text("x")
    os.chown(source / "f", 1234, 4321)
    os.chmod(source / "f", 0o4751)
    os.setxattr(source / "f", "trusted.agent", b"1")
    os.setxattr(source / "f", "system.posix_acl_access", ACL)
    with (source / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    data = subprocess.run(
        ["tar", "-c", "--sparse", "--acls", "--xattrs", "--xattrs-include=*", "-C", str(source), "f", "sparse"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert len(data) < 1 << 20
    place = mounted_tmpfs("16m")
    unpack(data, place)
    status = (place / "f").stat()
    # The group bits are the mask of the ACL.
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7707) == (1234, 4321, 0o4701)
    assert os.getxattr(place / "f", "trusted.agent") == b"1"
    assert os.getxattr(place / "f", "system.posix_acl_access") == ACL
    assert (place / "sparse").stat().st_size == (5 << 20) + 3
    assert (place / "sparse").stat().st_blocks * 512 < 1 << 20
