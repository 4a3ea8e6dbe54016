"""What goes into an overlay: links, further files, and what is refused because it cannot."""

import json
import os
import shutil
import socket

import pytest

from agent_router.cli import overlay
from tests.support.overlay import MANIFEST, SCRIPT

pytestmark = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
HOME = "extra/etc/agent-router"


def test_links_to_what_is_on_the_ramdisk_stay_links(tree):
    for name in ("acme.a", "acme.b", "acme.c", "acme.d"):
        tree.plugin(name, None)
    tree.file("root/opt/acme/tool", "\x7fELF", 0o755)
    tree.link("plugins.d/acme.a", "/opt/acme/tool")
    tree.link("plugins.d/acme.b", "../root/opt/acme/tool")
    tree.link("plugins.d/acme.c", tree.path / "root/opt/acme/tool")
    tree.link("plugins.d/acme.d", "acme.e")
    tree.plugin("acme.e")
    assert (tree(), tree.err) == (0, "")
    rows = tree.rows()
    assert [rows[f"{HOME}/plugins.d/acme.{letter}"] for letter in "abcd"] == [" -> /opt/acme/tool"] * 3 + [" -> acme.e"]


def test_a_link_to_another_file_of_the_directory_becomes_that_file(tree):
    tree.plugin("acme.a", None)
    tree.file("build/tool", "#!/bin/sh\n# this one\n", 0o600)
    tree.file("build/manifest", json.dumps(MANIFEST))
    tree.link("plugins.d/acme.a", "../build/tool")
    (tree.path / "schemas/acme.a.json").unlink()
    tree.link("schemas/acme.a.json", "../build/manifest")
    assert tree() == 0
    assert tree.rows()[f"{HOME}/plugins.d/acme.a"] == "-rwxr-xr-x"
    assert "this one" in (tree.unpack() / HOME / "plugins.d/acme.a").read_text()


@pytest.mark.parametrize("target", ["/usr/bin/env", "../../elsewhere", "acme.a", "/opt/loop", "gone"])
def test_a_link_to_elsewhere_is_refused(tree, target):
    tree.plugin("acme.a", None)
    (tree.root / "elsewhere").write_text("x")
    tree.link("plugins.d/acme.a", target)
    tree.link("root/opt/loop", "/opt/loop")
    rows = tree.refused(f"plugins.d/acme.a points to {target}, which is not in this overlay")
    assert rows[f"{HOME}/plugins.d/acme.a"] == f" -> {target}"


def test_a_linked_tool_must_be_executable_itself(tree):
    tree.plugin("acme.a", None)
    tool = tree.file("root/opt/tool", SCRIPT, 0o644)
    tree.link("plugins.d/acme.a", "/opt/tool")
    tree.refused(f"{tool} is not executable; chmod 755")


@pytest.mark.parametrize(("make", "word"), [
    (lambda tree: None, "is empty; put files into"),
    (lambda tree: tree.path.rmdir() or tree.path.write_text(""), "is not a directory; give the one that contains"),
    (lambda tree: tree.file("plugins.d"), "plugins.d is not a directory"),
    (lambda tree: tree.link("root", "gone"), "root is not a directory"),
    (lambda tree: (tree.path / "plugins.d/acme.a").mkdir(parents=True), "plugins.d/acme.a is a directory"),
    (lambda tree: tree.file("root/x") and os.mkfifo(tree.path / "root/pipe"), "root/pipe is a named pipe; remove it"),
    (lambda tree: tree.file("schemas/x") and os.mkfifo(tree.path / "schemas/a.b.json"), "a.b.json is a named pipe"),
    (lambda tree: tree.file("root/etc/agent-router/plugins.d/a.b"), "plugins.d bypasses the checks; move its files"),
    (lambda tree: tree.link("root/etc", "usr/etc"), "root/etc must be a directory"),
    (lambda tree: tree.link("plugins.d/a.b", "../root/") or tree.file("root/x/y"), "which is not a file"),
])  # fmt: skip
def test_what_cannot_be_packed_at_all(tree, make, word):
    make(tree)
    tree.impossible(word)


def test_a_socket(tree):
    tree.file("root/x")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tree.path / "root/s"))
        tree.impossible("root/s is a socket")


def test_a_missing_directory(tree, capsys):
    assert overlay.main(str(tree.root / "none"), str(tree.output), False) == 2
    assert "none is not a directory" in capsys.readouterr().err
