import hashlib
import json
import os
from pathlib import Path

import pytest

from agent_router.catalogue import trust
from agent_router.catalogue.method import STATUS, Method, good_name, missing_interpreter
from agent_router.config.environment import SYSTEM_PATH
from agent_router.schema.problems import RequestError

MANIFEST = {
    "protocol": 1,
    "title": "A test",
    "version": "1",
    "effects": "read",
    "request": {"type": "object"},
    "response": {},
}


@pytest.fixture
def make(tmp_path):
    """`make(script, **manifest keys)` gives a method of two good files."""
    tmp_path.chmod(0o700)

    def build(script="#!/bin/sh\n", name="a.b", **keys):
        executable, manifest = tmp_path / name, tmp_path / f"{name}.json"
        executable.write_text(script)
        executable.chmod(0o700)
        manifest.write_text(json.dumps({**MANIFEST, **keys}))
        manifest.chmod(0o600)
        return Method(name, [str(executable)], [str(manifest)])

    return build


def judged(method):
    method.refresh(SYSTEM_PATH)
    return method.state, method.reason


@pytest.mark.parametrize("name", ["a.b", "disk.wipe", "raid.show.acme", "a.b.c.d", "a1_.b_2", "a." + "b" * 98])
def test_good_names(name):
    assert good_name(name)


@pytest.mark.parametrize("name", ["", "a", "a.", ".b", "a..b", "a.b.c.d.e", "A.b", "a.1", "_a.b", "a-b.c", "a.b\n",
    "ä.b",
                                  "a/b.c", "a." + "b" * 99])  # fmt: skip
def test_names_that_are_none(name, tmp_path):
    assert not good_name(name)
    state, reason = judged(Method(name, [str(tmp_path / "x")], [str(tmp_path / "y")]))
    assert state == "invalid"
    assert "is no method name" in reason


@pytest.mark.parametrize(("name", "hint"), [
    ("acme.show.sh", "if acme.show is meant, rename it to acme.show"), ("acme.show.py", "rename it to acme.show"),
    ("acme.show", ""), ("acme.sh", ""), ("acme.show.disk", ""),
])  # fmt: skip
def test_an_executable_with_a_suffix_is_told_about_it(tmp_path, name, hint):
    state, reason = judged(Method(name, [str(tmp_path / name)]))
    assert state == "incomplete"
    assert f"but no manifest {name}.json" in reason
    assert (hint in reason) if hint else reason.endswith(".json")


@pytest.mark.parametrize("line", ["#!/bin/bash", "#!/usr/bin/env python3", "#!/usr/bin/env -S bash -e"])
def test_a_script_that_was_saved_on_windows(make, line):
    method = make(f"{line}\r\necho '{{}}'\r\n")
    state, reason = judged(method)
    assert state == "invalid"
    assert f"CR LF; convert it: sed -i 's/\\r$//' {method.executables[0]}" in reason


def test_whatever_one_manifest_does_is_its_own_fault(make, monkeypatch, caplog):
    """Also where it was ready before: it must not stay so."""
    method = make()
    assert judged(method)[0] == "ready"

    def defect(path):
        raise TypeError("a defect")

    monkeypatch.setattr("agent_router.catalogue.method.load", defect)
    os.utime(method.manifests[0], ns=(1, 1))
    assert judged(method) == ("invalid", "the agent failed to read it: TypeError: a defect")
    assert method.manifest is None
    assert "Error looking at a.b" in caplog.text


def test_ready(make):
    method = make()
    assert judged(method) == ("ready", "")
    assert method.usable().data["title"] == "A test"


@pytest.mark.parametrize(("spoil", "state", "words"), [
    (lambda m: m.executables.clear(), "incomplete", "a.b.json but no executable a.b"),
    (lambda m: m.manifests.clear(), "incomplete", "a.b but no manifest a.b.json"),
    (lambda m: Path(m.executables[0]).chmod(0o600), "invalid", "a.b is not executable; chmod 755"),
    (lambda m: Path(m.executables[0]).chmod(0o722), "untrusted",
        "may be written by its group or by others; chmod go-w"),
    (lambda m: Path(m.manifests[0]).chmod(0o666), "untrusted", "a.b.json may be written"),
    (lambda m: Path(m.executables[0]).parent.chmod(0o770), "untrusted", "may be written"),
    (lambda m: Path(m.manifests[0]).write_text("{"), "invalid", "a.b.json: $: not JSON"),
    (lambda m: Path(m.manifests[0]).unlink(), "invalid", "a.b.json: No such file or directory"),
    (lambda m: Path(m.executables[0]).write_text("#!/no/such/shell\n"), "unavailable",
        "interpreter /no/such/shell is not installed"),
    (lambda m: Path(m.executables[0]).write_text("#!\n"), "unavailable", "names no interpreter"),
])  # fmt: skip
def test_each_state_has_a_reason_that_names_the_file(make, spoil, state, words):
    method = make()
    spoil(method)
    found, reason = judged(method)
    assert found == state
    assert words in reason
    with pytest.raises(RequestError) as caught:
        method.usable()
    assert (caught.value.status, caught.value.code) == (STATUS[state], f"method_{state}")
    assert reason in caught.value.message


@pytest.mark.parametrize(("keys", "state", "words"), [
    ({"needs": {"commands": ["sh", "no-such-tool"]}}, "unavailable", "the command no-such-tool is not installed"),
    ({"needs": {"modules": ["no-such-module"]}}, "unavailable", "the kernel module no-such-module is neither"),
    ({"match": [{"modalias": "acme:*"}, {"dmi": {"sys_vendor": "Nobody"}}]}, "not_for_this_hardware",
     "this machine has none of: acme:*, sys_vendor=Nobody"),
])  # fmt: skip
def test_what_the_machine_lacks(make, keys, state, words):
    method = make(**keys)
    found, reason = judged(method)
    assert found == state
    assert words in reason
    assert method.manifest is not None


def test_a_tool_that_was_installed_meanwhile(make, tmp_path):
    method = make(needs={"commands": ["new-tool"]})
    assert judged(method)[0] == "unavailable"
    (tmp_path / "new-tool").touch(mode=0o755)
    method.refresh(str(tmp_path))
    assert method.state == "ready"


def test_the_digest_follows_the_file(make):
    method = make(script="#!/bin/sh\n# one")
    assert method.sha256() == hashlib.sha256(b"#!/bin/sh\n# one").hexdigest()
    Path(method.executables[0]).write_text("#!/bin/sh\n# three")
    assert method.sha256() == hashlib.sha256(b"#!/bin/sh\n# three").hexdigest()
    Path(method.executables[0]).unlink()
    assert method.sha256() == ""
    assert Method("a.b").sha256() == ""


@pytest.mark.parametrize(("first_line", "words"), [
    ("#!/bin/sh\n", ""), ("#! /usr/bin/env python3\n", ""), ("\x7fELF", ""), ("", ""),
    ("#!/bin/sh", ""), ("#!  \n", "names no interpreter"), ("#!/gone -x\n", "/gone is not installed"),
])  # fmt: skip
def test_interpreters(tmp_path, first_line, words):
    path = tmp_path / "script"
    path.write_text(first_line)
    reason = missing_interpreter(str(path))
    assert words in reason
    assert bool(reason) == bool(words)


def test_trust_follows_links_to_both_directories(tmp_path):
    tmp_path.chmod(0o700)
    real, linked = tmp_path / "real", tmp_path / "linked"
    for directory in (real, linked):
        directory.mkdir(mode=0o700)
    target, link = real / "tool", linked / "a.b"
    target.touch(mode=0o700)
    link.symlink_to(target)
    assert trust.distrust(str(link)) == ""
    real.chmod(0o720)
    assert trust.distrust(str(link)).startswith(str(real))
    real.chmod(0o700)
    linked.chmod(0o702)
    assert trust.distrust(str(link)).startswith(str(linked))
    linked.chmod(0o700)
    target.chmod(0o770)
    assert trust.distrust(str(link)).startswith(str(target))


def test_only_regular_files_are_trusted(tmp_path):
    tmp_path.chmod(0o700)
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "loop").symlink_to("loop")
    assert trust.distrust(str(tmp_path / "fifo")).endswith("is not a regular file")
    assert trust.distrust(str(tmp_path)).endswith("is not a regular file")
    for name in ("loop", "gone"):
        with pytest.raises(OSError):
            trust.distrust(str(tmp_path / name))


def test_a_strangers_file(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    path = tmp_path / "a.b"
    path.touch(mode=0o700)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "belongs to user" in trust.distrust(str(path))
