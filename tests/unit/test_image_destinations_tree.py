import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_router.image.destinations import tree
from agent_router.image.destinations.tree import MARKER, Tree
from agent_router.plugin import Failed, InvalidRequest, Refused

Mounted = Callable[[str], Path]


def archive(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def test_an_archive_fills_the_tree_and_the_marker_goes_last(mounted_tmpfs: Mounted) -> None:
    place = mounted_tmpfs("8m")
    target = Tree(str(place))
    target.begin()
    assert (place / MARKER).exists()
    target.write(0, archive(f="1", d__g="2"))
    target.flush()
    assert (place / MARKER).exists()
    target.finish()
    assert sorted(path.name for path in place.iterdir()) == ["d", "f"]


def test_abandon_takes_everything_away_below_mounts_too(mounted_tmpfs: Mounted) -> None:
    place = mounted_tmpfs("8m")
    (place / "boot").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place / "boot")], check=True)
    target = Tree(str(place))
    target.begin()
    target.write(0, archive(f="1", boot__vmlinuz="2", d__g="3"))
    target.flush()
    assert (place / "boot/vmlinuz").exists()
    target.abandon()
    assert [str(path.relative_to(place)) for path in place.rglob("*")] == ["boot"]
    Tree(str(place))  # ready for the next attempt


def test_files_are_refused_and_only_what_bears_the_marker_is_cleaned_up(mounted_tmpfs: Mounted) -> None:
    place = mounted_tmpfs("8m")
    (place / "lost+found").mkdir()
    Tree(str(place))
    for name in "abcd":
        (place / name).touch()
    with pytest.raises(Refused, match=r"is not empty \(a, b, c and 1 more\); make a new file system"):
        Tree(str(place))
    tree.clean_up(place)
    assert (place / "a").exists()
    (place / MARKER).touch()
    with pytest.raises(Refused, match=r"holds the rest of an unfinished archive \(a, b, c and 1 more\)"):
        Tree(str(place))
    tree.clean_up(place)
    assert [path.name for path in place.iterdir()] == ["lost+found"]


def test_the_marker_goes_last(mounted_tmpfs: Mounted, monkeypatch: pytest.MonkeyPatch) -> None:
    place = mounted_tmpfs("8m")
    for name in (MARKER, "a", "z"):
        (place / name).touch()
    gone: list[str] = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: gone.append(path.name))
    tree.empty(place)
    assert (sorted(gone), gone[-1]) == ([MARKER, "a", "z"], MARKER)


def test_a_tree_mounted_read_only_is_refused(mounted_tmpfs: Mounted) -> None:
    place = mounted_tmpfs("8m")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    with pytest.raises(Refused, match="mounted read-only") as caught:
        Tree(str(place))
    assert caught.value.code == "read_only"


def test_what_is_no_mounted_tree_is_refused(tmp_path: Path) -> None:
    for path, kind in ((tmp_path, Refused), (tmp_path / "none", InvalidRequest), (Path("/"), Refused)):
        with pytest.raises(kind) as caught:
            Tree(str(path))
        assert caught.value.code == "not_a_tree"


@pytest.mark.root
def test_a_disk_outside_the_allow_list_is_protected(
    tmp_path: Path, loop_file_system: Callable[[], tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, place = loop_file_system()
    monkeypatch.setenv("AGENT_DEVICES", "/dev/nothing*")
    with pytest.raises(Refused, match=f"{device} is not in the agent's device allow-list"):
        Tree(str(place))
    monkeypatch.setenv("AGENT_DEVICES", "/dev/loop*")
    Tree(str(place))


def test_the_limit_holds_before_more_is_written(mounted_tmpfs: Mounted) -> None:
    target = Tree(str(mounted_tmpfs("8m")), max_size=10_000)
    with pytest.raises(Failed, match="more than the 10000 bytes") as caught:
        target.expect(10_001)
    assert caught.value.code == "too_large"
    target.begin()
    with pytest.raises(Failed, match="more than the 10000 bytes"):
        target.write(0, bytes(10_001))
    target.abandon()


def test_empty_spares_mount_points_with_spaces(mounted_tmpfs: Mounted) -> None:
    place = mounted_tmpfs("8m")
    (place / "a b").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place / "a b")], check=True)
    (place / "a b/f").touch()
    tree.empty(place)
    assert os.path.ismount(place / "a b")
    assert list((place / "a b").iterdir()) == []
