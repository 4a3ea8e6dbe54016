import os
import subprocess

import pytest

from agent_router.linux import mounts, trees


def test_a_tree_goes_with_all_that_is_in_it_and_links_are_not_followed(tmp_path):
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (outside / "file").touch()
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/link").symlink_to(outside)
    (tree / "a/b/file").touch()
    os.mkfifo(tree / "pipe")
    (tree / "a").chmod(0)
    trees.remove(str(tree))
    assert not tree.exists()
    assert (outside / "file").exists()


def test_no_depth_is_too_deep(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        above, fd = fd, os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(above)
    os.close(fd)
    trees.remove(str(tree))
    assert not tree.exists()


def test_what_is_not_there_is_no_error(tmp_path):
    trees.remove(str(tmp_path / "nothing"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")
@pytest.mark.parametrize("detached", [True, False])
def test_nothing_below_a_mount_is_removed(tmp_path, monkeypatch, detached):
    """Of one file system: a bind mount has the same device number."""
    outside, point = tmp_path / "outside", tmp_path / "tree/a/b c"
    outside.mkdir()
    (outside / "file").touch()
    point.mkdir(parents=True)
    subprocess.run(["mount", "--bind", outside, point], check=True)
    try:
        assert mounts.points(str(tmp_path / "tree")) == [str(point)]
        with monkeypatch.context() as patch:
            if not detached:
                patch.setattr(mounts, "detach", lambda path: [])
            trees.remove(str(tmp_path / "tree"))
        assert (outside / "file").exists()
        assert point.exists() is not detached
    finally:
        mounts.detach(str(tmp_path))
    assert mounts.points(str(tmp_path)) == []
