import os
import socket
import stat
import subprocess
import tempfile

import pytest

from agent_router.overlay import tree
from agent_router.overlay.cpio import ArchiveError


def found(root):
    return {member.name: member for member in tree.members(str(root), "extra")}


@pytest.mark.parametrize(("mode", "expected"), [
    (stat.S_IFREG | 0o777, 0o755), (stat.S_IFREG | 0o600, 0o600), (stat.S_IFREG | 0o4775, 0o4755),
    (stat.S_IFDIR | 0o775, 0o755), (stat.S_IFDIR | 0o700, 0o700), (stat.S_IFDIR | 0o1777, 0o1777),
    (stat.S_IFREG | 0o1777, 0o1755),
])  # fmt: skip
def test_only_root_may_write(mode, expected):
    assert stat.S_IMODE(tree.safe_mode(mode)) == expected


def test_files_directories_and_links(tmp_path):
    (tmp_path / "opt/acme").mkdir(parents=True)
    (tmp_path / "opt/acme/.hidden~").write_text("x")
    (tmp_path / "opt/current").symlink_to("/opt/acme")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").mkdir()
    members = found(tmp_path)
    assert set(members) == {"extra/opt", "extra/opt/acme", "extra/opt/acme/.hidden~", "extra/opt/current",
                            "extra/loop", "extra/empty"}  # fmt: skip
    assert (members["extra/opt/current"].target, members["extra/loop"].target) == ("/opt/acme", "loop")
    assert members["extra/opt/acme/.hidden~"].source == f"{tmp_path}/opt/acme/.hidden~"


def test_hard_links_have_one_inode(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "a", tmp_path / "c")
    members = found(tmp_path)
    assert members["extra/a"].inode == members["extra/c"].inode is not None
    assert members["extra/b"].inode is None


def test_a_deep_tree():
    # Not in tmp_path, and removed by rm: the way of pytest and shutil is recursive.
    here, root = os.getcwd(), tempfile.mkdtemp()
    os.chdir(root)
    try:
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        assert len(found(root)) == 1500
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", root], check=True)


@pytest.mark.parametrize(("make", "words"), [
    (os.mkfifo, "is a named pipe"),
    (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "is a socket"),
    pytest.param(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)), "is a character device",
        marks=[pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a device node")]),
])  # fmt: skip
def test_what_cannot_be_packed(tmp_path, make, words):
    make(tmp_path / "thing")
    with pytest.raises(ArchiveError, match=f"{tmp_path}/thing {words}; remove it"):
        found(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory_is_not_passed_over(tmp_path):
    (tmp_path / "closed").mkdir(0o000)
    with pytest.raises(PermissionError):
        found(tmp_path)
