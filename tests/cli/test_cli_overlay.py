"""agent-router overlay: what it takes, what it refuses, and what is in the archive."""

import os
import shutil
import stat
import subprocess

import pytest

from agent_router.cli import overlay
from agent_router.overlay import check
from tests.support.overlay import SCRIPT

pytestmark = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
HOME = "extra/etc/agent-router"


def test_the_command(cli, tree):
    tree.plugin("acme.show")
    done = cli("overlay", str(tree.path), "-o", str(tree.output))
    assert (done.status, done.err) == (0, "")
    size = f"{tree.output.stat().st_size / 1024:.1f} KiB"
    assert done.out.splitlines() == [
        f"{tree.output}: {size}, 1 method",
        "  acme.show",
        "Boot with it as a second initrd, after the ramdisk's own; in iPXE: initrd out.cpio.gz",
    ]
    tree.plugin("acme.bad", "echo\n")
    done = cli("overlay", str(tree.path), "-o", str(tree.output))
    assert (done.status, done.out, "--force" in done.err) == (2, "", True)
    assert cli("overlay", str(tree.path), "-o", str(tree.output), "--force").status == 0


def test_the_archive(tree):
    tree.plugin("acme.show")
    tree.plugin("acme.set", SCRIPT, effects="change")
    tree.file("root/opt/acme/my tool", "x", 0o775)
    tree.file("root/opt/acme/ünï~", "x", 0o600)
    tree.link("root/opt/acme/link", "/opt/elsewhere")
    assert tree() == 0
    directories = ["extra", "extra/etc", HOME, f"{HOME}/plugins.d", f"{HOME}/schemas", "extra/opt", "extra/opt/acme"]
    assert tree.rows() == {
        **dict.fromkeys(directories, "drwxr-xr-x"),
        f"{HOME}/plugins.d/acme.show": "-rwxr-xr-x", f"{HOME}/plugins.d/acme.set": "-rwxr-xr-x",
        f"{HOME}/schemas/acme.show.json": "-rw-r--r--", f"{HOME}/schemas/acme.set.json": "-rw-r--r--",
        "extra/opt/acme/my tool": "-rwxr-xr-x", "extra/opt/acme/ünï~": "-rw-------",
        "extra/opt/acme/link": " -> /opt/elsewhere",
    }  # fmt: skip
    assert tree.out.splitlines()[1:3] == ["  acme.set", "  acme.show"]


def test_an_agent_takes_what_was_unpacked(tree, cli):
    tree.plugin("acme.show", '#!/bin/sh\necho \'{"it": "works"}\'\n')
    tree.path.chmod(0o777)
    assert tree() == 0
    home = tree.unpack() / HOME
    done = cli("call", "acme.show", f"--plugins={home}/plugins.d", f"--schemas={home}/schemas", "--no-bundled")
    assert done.json == {"it": "works"}


def test_it_is_reproducible(tree, monkeypatch):
    tree.plugin("acme.show")
    tree.file("root/a", "x")
    os.link(tree.path / "root/a", tree.path / "root/b")
    assert tree() == 0
    first = tree.output.read_bytes()
    copy = tree.root / "copy"
    shutil.copytree(tree.path, copy)
    (copy / "root/b").unlink()
    os.link(copy / "root/a", copy / "root/b")
    os.utime(copy / "root/a", (5, 5))
    assert overlay.main(str(copy), str(tree.output), False) == 0
    assert tree.output.read_bytes() == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(86400 * 365))
    assert tree() == 0
    assert tree.output.read_bytes() != first
    for bad in ("yesterday", "-1", str(1 << 32)):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", bad)
        assert tree() == 2
        assert "SOURCE_DATE_EPOCH is" in tree.err


@pytest.mark.parametrize(("make", "word"), [
    (lambda tree: tree.plugin("acme.show", response=5),
     "acme.show is invalid: {tree}/schemas/acme.show.json: $.response"),
    (lambda tree: tree.file("plugins.d/acme.show", SCRIPT), "is incomplete: there is {tree}/plugins.d/acme.show"),
    (lambda tree: tree.plugin("acme.show", None), "is incomplete: there is {tree}/schemas/acme.show.json but no"),
    (lambda tree: tree.plugin("disk.wipe"), "disk.wipe is invalid: two files claim this name"),
    (lambda tree: tree.plugin("Acme.Show"), "'Acme.Show' is no method name"),
    (lambda tree: tree.plugin("acme.show", "echo\n"), "plugins.d/acme.show: it is neither a binary (ELF) nor a script"),
    (lambda tree: tree.plugin("acme.show", "#!/bin/sh\r\necho\r\n"),
     "plugins.d/acme.show: it has Windows line endings"),
    (lambda tree: tree.file("root/run/acme"), "on the ramdisk /run is a mount point"),
])  # fmt: skip
def test_what_an_agent_would_refuse(tree, make, word):
    make(tree)
    tree.refused(word.format(tree=tree.path))


def test_every_bad_plugin_has_its_sentence(tree):
    tree.plugin("acme.good")
    tree.plugin("acme.a", None)
    tree.plugin("acme.b", effects="none")
    rows = tree.refused("acme.a is incomplete", "acme.b is invalid")
    assert f"{HOME}/schemas/acme.a.json" in rows


@pytest.mark.parametrize(("head", "words"), [
    (b"\x7fELF\x02", ""), (b"#!/bin/sh\n", ""), (b"#! /usr/bin/env python3", ""), (b"#!/bin/sh -e\n\r", ""),
    (b"", "neither"), (b"MZ\x90", "neither"), (b"\xef\xbb\xbf#!/bin/sh\n", "neither"), (b"#!\n", "names nothing"),
    (b"#!", "names nothing"), (b"#!sh\n", "names sh as interpreter"), (b"#!/bin/sh\r\n", "Windows"),
    (b"#!/" + b"x" * 253, "longer than 255 bytes"), (b"#!/" + b"x" * 252 + b"\n", ""),
])  # fmt: skip
def test_the_start_of_a_program(head, words):
    found = check.bad_start(head)
    assert words in found
    assert bool(found) == bool(words)


def test_what_is_only_not_here_is_a_note(tree):
    tree.plugin("acme.a", needs={"commands": ["acme-flash"]})
    tree.plugin("acme.b", match=[{"modalias": "acme:v1*"}])
    tree.plugin("acme.c", "#!/opt/acme/sh\n")
    assert tree() == 0
    assert [line.partition(": ")[2] for line in tree.err.splitlines()] == [
        "note: acme.a is unavailable on this machine: the command acme-flash is not installed",
        "note: acme.b is not_for_this_hardware on this machine: this machine has none of: acme:v1*",
        "note: acme.c is unavailable on this machine: its interpreter /opt/acme/sh is not installed",
    ]


def test_what_comes_with_the_overlay_is_not_missed(tree):
    tree.plugin("acme.a", needs={"commands": ["acme-flash"]})
    tree.file("root/usr/sbin/acme-flash", "x", 0o755)
    tree.plugin("acme.c", "#!/opt/acme/sh\n")
    tree.link("root/opt/acme", "/opt/acme-2")
    tree.file("root/opt/acme-2/sh", "x", 0o755)
    assert (tree(), tree.err) == (0, "")


def test_files_left_out_are_named(tree):
    tree.plugin("acme.show")
    for place in ("plugins.d/.hidden", "plugins.d/acme.show~", "schemas/notes.txt", "README.md", "plugin.d/acme.set"):
        tree.file(place)
    assert tree() == 0
    assert [line.partition("note: ")[2] for line in tree.err.splitlines()] == [
        "README.md is ignored: only plugins.d/, schemas/, root/ are read",
        "plugin.d is ignored: only plugins.d/, schemas/, root/ are read",
        "plugins.d/.hidden is ignored: its name is that of a hidden or backup file",
        "plugins.d/acme.show~ is ignored: its name is that of a hidden or backup file",
        "schemas/notes.txt is ignored: manifests are named NAME.json",
    ]
    assert not any(name.endswith(("~", ".txt", ".hidden")) for name in tree.rows())


@pytest.mark.parametrize("place", [".", "x.cpio.gz", "plugins.d/acme.show", "root/x"])
def test_the_output_is_never_in_the_directory(tree, place):
    tree.plugin("acme.show")
    (tree.root / "linked").mkdir()
    tree.link("root", tree.root / "linked")
    assert tree(output=tree.path / place) == 2
    assert "name a file elsewhere with -o" in tree.err
    assert (tree.path / "plugins.d/acme.show").read_text() == SCRIPT


def test_an_output_that_is_not_a_file(tree):
    tree.plugin("acme.show")
    for place in (tree.root, "/dev/null"):
        assert tree(output=place) == 2
        assert f"{place} is not a regular file" in tree.err
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_an_output_that_cannot_be_written(tree):
    tree.plugin("acme.show")
    assert tree(output=tree.root / "none/x") == 1
    assert tree.err == f"agent-router: {tree.root}/none/x: No such file or directory; nothing was written\n"


def test_a_full_disk_leaves_the_old_archive(tree, cli):
    tree.plugin("acme.show")
    assert tree() == 0
    old = tree.output.read_bytes()
    tree.file("root/opt/large", os.urandom(1 << 20))
    line = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *cli.argv, "overlay", str(tree.path), "-o", str(tree.output)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"agent-router: {tree.output}: File too large; nothing was written\n")
    assert tree.output.read_bytes() == old
    assert sorted(os.listdir(tree.root)) == ["out.cpio.gz", "tree"]


def test_an_unreadable_file(tree, monkeypatch):
    tree.file("root/secret", "x")
    known = os.open

    def refuse(path, *rest, **keys):
        if str(path).endswith("/secret"):
            raise PermissionError(13, "Permission denied", path)
        return known(path, *rest, **keys)

    monkeypatch.setattr(os, "open", refuse)
    assert tree() == 1
    assert tree.err == f"agent-router: {tree.path}/root/secret: Permission denied; nothing was written\n"
    assert not tree.output.exists()


def test_a_noexec_directory_for_temporary_files_is_named(tree, monkeypatch):
    tree.plugin("acme.show")
    monkeypatch.setattr(os, "access", lambda *rest: False)
    tree.impossible("is mounted noexec")


def test_names_that_are_not_text(tree):
    tree.file(os.fsdecode(b"root/\xff\x1b[31m"), "x")
    tree.file(os.fsdecode(b"plugins.d/\xff.x\x1b"), SCRIPT)
    rows = tree.refused("is invalid")
    assert len(rows) == 6
    assert all(char.isprintable() or char == "\n" for char in tree.err + tree.out)
