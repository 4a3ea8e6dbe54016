"""Archives are read back with cpio(1) itself, as the kernel reads them."""

import gzip
import io
import os
import shutil
import stat
import subprocess

import pytest

from agent_router.overlay import cpio
from agent_router.overlay.cpio import ArchiveError, Member

pytestmark = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
FILE, LINK = stat.S_IFREG, stat.S_IFLNK | 0o777


@pytest.fixture
def source(tmp_path):
    """`source(content)`: a file of that content, as text path."""

    def make(content):
        path = tmp_path / f"source{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        return str(path)

    return make


def packed(*members, mtime=0):
    file = io.BytesIO()
    cpio.write_gzip(members, file, mtime)
    return file.getvalue()


def run(archive, *options, cwd=None):
    done = subprocess.run(["cpio", "--quiet", *options], input=archive, cwd=cwd, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def listing(compressed):
    """Mode, links, owner, group, size, date and name of each member, as cpio lists them."""
    lines = run(gzip.decompress(compressed), "-itv", "--numeric-uid-gid").splitlines()
    return [line.split(maxsplit=8) for line in lines]


def unpacked(compressed, target):
    target.mkdir()
    run(gzip.decompress(compressed), "-id", cwd=target)
    return target


def test_it_reads_back(source, tmp_path):
    names = ["a/b/plain", "a/with space", "a/ünïcode\n", os.fsdecode(b"a/\xff\xfe")]
    members = [Member(name, FILE | 0o640, source(name.encode(errors="replace") * 1000)) for name in names]
    root = unpacked(
        packed(*members, Member("a/link", LINK, target="b/plain"), Member("a/d", stat.S_IFDIR | 0o700)),
        tmp_path / "out",
    )
    for name in names:
        assert (root / name).read_bytes() == name.encode(errors="replace") * 1000
        assert stat.S_IMODE((root / name).stat().st_mode) == 0o640
    assert os.readlink(root / "a/link") == "b/plain"
    assert stat.S_IMODE((root / "a/d").stat().st_mode) == 0o700


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 511, 512, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_every_alignment_of_content_and_name(source, tmp_path, size):
    content = os.urandom(size)
    path = source(content)
    names = ["x" * length for length in range(1, 9)]
    root = unpacked(packed(*(Member(name, FILE | 0o600, path) for name in names)), tmp_path / "out")
    assert [(root / name).read_bytes() for name in names] == [content] * 8


def test_everything_belongs_to_root_and_has_one_date(source):
    rows = listing(packed(Member("d/file", FILE | 0o755, source(b"x")), mtime=86400 * 365))
    assert [(row[2], row[3]) for row in rows] == [("0", "0")] * 2
    assert {" ".join(row[5:8]) for row in rows} == {"Jan 1 1971"}


def test_parents_come_first_and_only_once(source):
    path = source(b"")
    rows = listing(
        packed(
            Member("a/b-c/f", FILE | 0o600, path),
            Member("a/b/c/d", FILE | 0o600, path),
            Member("a/b", stat.S_IFDIR | 0o711),
        )
    )
    assert [(row[0], row[8]) for row in rows] == [
        ("drwxr-xr-x", "a"),
        ("drwx--x--x", "a/b"),
        ("drwxr-xr-x", "a/b-c"),
        ("-rw-------", "a/b-c/f"),
        ("drwxr-xr-x", "a/b/c"),
        ("-rw-------", "a/b/c/d"),
    ]


def test_hard_links_stay_one_file_and_its_content_is_there_once(source, tmp_path):
    path = source(os.urandom(100_000))
    members = [Member(name, FILE | 0o700, path, inode=(1, 7)) for name in ("one", "three", "two")]
    archive = packed(*members, Member("other", FILE | 0o700, path))
    assert len(gzip.decompress(archive)) < 2 * 100_000 + 2000
    root = unpacked(archive, tmp_path / "out")
    inodes = {name: (root / name).stat().st_ino for name in ("one", "two", "three", "other")}
    assert inodes["one"] == inodes["two"] == inodes["three"] != inodes["other"]
    assert (root / "one").read_bytes() == (root / "other").read_bytes() == (tmp_path / "source0").read_bytes()


def test_the_same_entries_make_the_same_bytes(source, tmp_path):
    path = source(b"content")
    members = [Member("b", FILE | 0o600, path), Member("a", FILE | 0o600, path, inode=(3, 4))]
    first = packed(*members)
    os.utime(path, (1, 1))
    with open(tmp_path / "named.gz", "w+b") as file:
        cpio.write_gzip([members[1], Member("b", FILE | 0o600, path)], file)
        file.seek(0)
        assert file.read() == first
    assert packed(*members, mtime=1) != first
    assert first[3:8] == bytes(5), "neither name nor time in the head of gzip"


def test_archives_can_be_put_one_behind_the_other(source, tmp_path):
    # The kernel takes compressed archives anywhere, plain ones only at a multiple of 4 bytes.
    one, two = (packed(Member(name, FILE | 0o600, source(name.encode()))) for name in ("one", "second"))
    assert len(one) % 4 == len(two) % 4 == 0
    whole = gzip.decompress(one + two)
    assert whole == gzip.decompress(one) + gzip.decompress(two)
    assert len(gzip.decompress(one)) % 512 == 0
    # Read as the kernel does: go on behind each trailer.
    assert [run(part, "-it").split() for part in (whole, whole[len(gzip.decompress(one)) :])] == [["one"], ["second"]]
    (tmp_path / "both").write_bytes(one + two)
    assert subprocess.run(["gzip", "-dc", tmp_path / "both"], capture_output=True, check=True).stdout == whole


def test_a_plain_archive_behind_a_compressed_one_is_aligned(source):
    for length in range(40):
        assert len(packed(Member("f", FILE, source(os.urandom(length))))) % 4 == 0


def test_nothing_large_is_held_in_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    with open(tmp_path / "archive", "wb") as file:
        cpio.write_gzip([Member("large", FILE | 0o600, str(path))], file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(("member", "words"), [
    (Member("n" * 4096, stat.S_IFDIR), "longer than 4095 bytes"),
    (Member("link", LINK, target="t" * 4096), "link points to a path longer than 4095 bytes"),
])  # fmt: skip
def test_what_the_kernel_would_skip(member, words):
    with pytest.raises(ArchiveError, match=words):
        packed(member)


def test_the_longest_name_and_target_are_good(tmp_path):
    archive = gzip.decompress(packed(Member("n" * 4095, stat.S_IFDIR | 0o700), Member("link", LINK, target="t" * 4095)))
    assert run(archive, "-it").split() == ["link", "n" * 4095]


def test_a_file_beyond_4_gib(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(ArchiveError, match="huge has 4096 MiB, but cpio is limited to 4 GiB a file"):
        packed(Member("huge", FILE, str(path)))


def test_a_name_twice(source):
    with pytest.raises(ArchiveError, match="a would be in the archive twice"):
        packed(Member("a", FILE, source(b"")), Member("a", FILE, source(b"")))


@pytest.mark.parametrize("change", [b"", b"more and more"])
def test_a_file_that_changes_while_it_is_read(source, change, monkeypatch):
    path = source(b"original")
    head = cpio._Archive._head

    def head_and_change(self, member, *rest):
        head(self, member, *rest)
        if member.source:
            with open(member.source, "wb") as file:
                file.write(change)

    monkeypatch.setattr(cpio._Archive, "_head", head_and_change)
    with pytest.raises(ArchiveError, match="changed while it was being read"):
        packed(Member("f", FILE, path))


def test_a_file_that_became_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="is not a regular file any more"):
        packed(Member("f", FILE, str(tmp_path / "pipe")))
