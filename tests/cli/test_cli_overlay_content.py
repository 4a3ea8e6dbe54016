"""What goes into an overlay: links, further files, and what is refused because it cannot."""

import json
import os
import shutil
import socket

import pytest
from overlay_box import MANIFEST, SCRIPT

from agent_router.cli import overlay

pytestmark = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
HOME = "extra/etc/agent-router"


def test_links_to_what_is_on_the_ramdisk_stay_links(box):
    for name in ("acme.a", "acme.b", "acme.c", "acme.d"):
        box.plugin(name, None)
    box.file("root/opt/acme/tool", "\x7fELF", 0o755)
    box.link("plugins.d/acme.a", "/opt/acme/tool")
    box.link("plugins.d/acme.b", "../root/opt/acme/tool")
    box.link("plugins.d/acme.c", box.path / "root/opt/acme/tool")
    box.link("plugins.d/acme.d", "acme.e")
    box.plugin("acme.e")
    assert (box(), box.err) == (0, "")
    rows = box.rows()
    assert [rows[f"{HOME}/plugins.d/acme.{letter}"] for letter in "abcd"] == [" -> /opt/acme/tool"] * 3 + [" -> acme.e"]


def test_a_link_to_another_file_of_the_directory_becomes_that_file(box):
    box.plugin("acme.a", None)
    box.file("build/tool", "#!/bin/sh\n# this one\n", 0o600)
    box.file("build/manifest", json.dumps(MANIFEST))
    box.link("plugins.d/acme.a", "../build/tool")
    (box.path / "schemas/acme.a.json").unlink()
    box.link("schemas/acme.a.json", "../build/manifest")
    assert box() == 0
    assert box.rows()[f"{HOME}/plugins.d/acme.a"] == "-rwxr-xr-x"
    assert "this one" in (box.unpack() / HOME / "plugins.d/acme.a").read_text()


@pytest.mark.parametrize("target", ["/usr/bin/env", "../../elsewhere", "acme.a", "/opt/loop", "gone"])
def test_a_link_to_elsewhere_is_refused(box, target):
    box.plugin("acme.a", None)
    (box.root / "elsewhere").write_text("x")
    box.link("plugins.d/acme.a", target)
    box.link("root/opt/loop", "/opt/loop")
    rows = box.refused(f"plugins.d/acme.a points at {target}, which this overlay does not bring")
    assert rows[f"{HOME}/plugins.d/acme.a"] == f" -> {target}"


def test_a_linked_tool_must_be_executable_itself(box):
    box.plugin("acme.a", None)
    tool = box.file("root/opt/tool", SCRIPT, 0o644)
    box.link("plugins.d/acme.a", "/opt/tool")
    box.refused(f"{tool} is not executable; chmod 755")


@pytest.mark.parametrize(("make", "word"), [
    (lambda box: None, "holds nothing for a ramdisk"),
    (lambda box: box.path.rmdir() or box.path.write_text(""), "is no directory; give the one that holds"),
    (lambda box: box.file("plugins.d"), "plugins.d is not a directory"),
    (lambda box: box.link("root", "gone"), "root is not a directory"),
    (lambda box: (box.path / "plugins.d/acme.a").mkdir(parents=True), "plugins.d/acme.a is a directory"),
    (lambda box: box.file("root/x") and os.mkfifo(box.path / "root/pipe"), "root/pipe is a named pipe; take it out"),
    (lambda box: box.file("schemas/x") and os.mkfifo(box.path / "schemas/a.b.json"), "a.b.json is a named pipe"),
    (lambda box: box.file("root/etc/agent-router/plugins.d/a.b"), "plugins.d is past all checks; move its files"),
    (lambda box: box.link("root/etc", "usr/etc"), "root/etc must be a directory"),
    (lambda box: box.link("plugins.d/a.b", "../root/") or box.file("root/x/y"), "which is not a file"),
])  # fmt: skip
def test_what_cannot_be_packed_at_all(box, make, word):
    make(box)
    box.impossible(word)


def test_a_socket(box):
    box.file("root/x")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(box.path / "root/s"))
        box.impossible("root/s is a socket")


def test_a_missing_directory(box, capsys):
    assert overlay.main(str(box.root / "none"), str(box.output), False) == 2
    assert "none is no directory" in capsys.readouterr().err
