"""Every state of a method, with its reason; files that come, change and go while the agent runs."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.agent import Agent, Drop, FreshAgent, manifest
from tests.support.waiting import wait_for

OK = "#!/bin/sh\necho '{}'\n"


def refused(agent: Agent, name: str, status: int) -> str:
    reply = agent.send(name, {})
    assert reply.status == status, reply
    return reply.problem["faultstring"]


@pytest.mark.parametrize(
    ("name", "state", "status", "words"),
    [
        ("bad.no_interpreter", "unavailable", 501, "/opt/acme/bin/flashsh"),
        ("bad.needs_command", "unavailable", 501, "acme-flash-tool"),
        ("bad.needs_module", "unavailable", 501, "acme_flash"),
        ("bad.other_hardware", "not_for_this_hardware", 501, "acme:v1*"),
        ("bad.remote_ref", "invalid", 500, "http://127.0.0.1:1/disk.json"),
        ("bad.schema_is_none", "invalid", 500, "disc"),
        ("bad.key_unknown", "invalid", 500, "timeout"),
        ("bad.manifest_is_no_json", "invalid", 500, "not JSON"),
    ],
)
def test_a_bad_plugin_is_listed_with_its_reason_and_refused(agent: Agent, name, state, status, words):
    shown = agent.methods()[name]
    assert shown["state"] == state
    assert words in shown["reason"]
    message = refused(agent, name, status)
    assert name in message
    assert words in message


def test_a_file_without_the_execute_bit(agent: Agent, drop: Drop):
    drop("dropped.plain", OK).chmod(0o600)
    assert "chmod 755" in refused(agent, "dropped.plain", 500)


@pytest.mark.parametrize("which", ["plugin", "manifest", "directory"])
def test_what_others_may_write_is_not_trusted(agent: Agent, drop: Drop, which):
    path = drop("dropped.open", OK)
    victim = {"plugin": path, "manifest": agent.schemas / "dropped.open.json", "directory": path.parent}[which]
    mode = victim.stat().st_mode
    victim.chmod(mode | 0o002)
    try:
        assert agent.methods()["dropped.open"]["state"] == "untrusted"
        message = refused(agent, "dropped.open", 403)
        assert f"chmod go-w {victim}" in message
    finally:
        victim.chmod(mode)
    assert agent.post("dropped.open")["command_status"] == "SUCCEEDED"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a file to another user")
def test_a_strangers_file_is_not_trusted(agent: Agent, drop: Drop):
    os.chown(drop("dropped.strange", OK), 65534, 65534)
    assert "belongs to user 65534" in refused(agent, "dropped.strange", 403)


def test_a_link_is_judged_by_its_target(agent: Agent, drop: Drop):
    path = drop("dropped.link", OK)
    target = agent.root / "tool"
    path.rename(target)
    path.symlink_to(target)
    target.chmod(0o702)
    assert str(target) in refused(agent, "dropped.link", 403)


def test_a_symlink_loop_is_loud_and_alone(agent: Agent, drop: Drop):
    path = drop("dropped.loop", OK)
    path.unlink()
    path.symlink_to("dropped.loop")
    message = refused(agent, "dropped.loop", 500)
    assert "symbolic links" in message
    assert agent.methods()["work.bash"]["state"] == "ready"


def test_a_link_to_nothing_and_a_directory(agent: Agent, drop: Drop):
    path = drop("dropped.nothing", OK)
    path.unlink()
    path.symlink_to("gone")
    assert "gone" in refused(agent, "dropped.nothing", 500)
    path.unlink()
    path.mkdir()
    assert "not a regular file" in refused(agent, "dropped.nothing", 403)
    path.rmdir()


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_not_a_file_is_never_opened(agent: Agent, drop: Drop, kind):
    path = drop("dropped.special", OK)
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path, 0o700)
    else:
        path.symlink_to("/dev/zero")
    assert "not a regular file" in refused(agent, "dropped.special", 403)
    (agent.schemas / "dropped.special.json").unlink()
    os.mkfifo(agent.schemas / "dropped.special.json", 0o600)
    assert "dropped.special" in agent.methods()


def test_names_that_are_none(agent: Agent, drop: Drop):
    names = ["nodot", "Upper.case", "dropped.ünicode", "dropped.a b", "a.b.c.d.e", "dropped.-x", "x." + "y" * 99]
    for name in names:
        drop(name, OK)
    methods = agent.methods()
    for name in names:
        assert methods[name]["state"] == "invalid", name
        assert "no method name" in methods[name]["reason"]
        if "." in name:
            refused(agent, name, 500)


@pytest.mark.parametrize("name", ["../../ls.x", "disk/../x.y", "/bin/ls.x", "x.y\0z", "ü.ä", "." * 300, "work.bash/"])
def test_a_name_is_never_a_path(agent: Agent, name):
    assert agent.send(name, {}).status == 404
    assert agent.send(name, {}).problem["code"] == "method_unknown"


def test_an_undecodable_file_name_hurts_nobody(agent: Agent, drop: Drop):
    path = drop("dropped.neighbour", OK)
    odd = Path(os.fsdecode(bytes(path.parent) + b"/dropped.\xff\xfe"))
    odd.write_text(OK)
    assert agent.request("GET", "/v1/methods").status == 200
    assert agent.methods()["dropped.neighbour"]["state"] == "ready"
    odd.unlink()


def test_backup_files_are_ignored_and_listed_as_such(agent: Agent, drop: Drop):
    names = ["dropped.a~", ".dropped.a.swp", "dropped.a.rpmsave", "dropped.a.dpkg-old", "dropped.a.bak", "#dropped.a#"]
    for name in names:
        drop(name, OK)
    methods = agent.methods()
    assert {name: methods[name]["state"] for name in names} == dict.fromkeys(names, "ignored")
    assert agent.send("dropped.a.bak", {}).status == 404


def test_one_file_of_two_is_incomplete(agent: Agent, drop: Drop):
    path = drop("dropped.half", OK)
    schema = agent.schemas / "dropped.half.json"
    text = schema.read_text()
    schema.unlink()
    assert "no manifest dropped.half.json" in refused(agent, "dropped.half", 404)
    schema.write_text(text)
    path.unlink()
    assert "no executable dropped.half" in refused(agent, "dropped.half", 404)
    assert agent.methods()["dropped.half"]["state"] == "incomplete"


def test_a_name_found_twice_is_refused_and_both_paths_are_named(fresh_agent: FreshAgent, tmp_path: Path):
    other = tmp_path / "vendor"
    shutil.copytree(Path(__file__).parents[1] / "plugins.d", other, symlinks=True)
    for path in (tmp_path, other, *other.iterdir()):
        if not path.is_symlink():
            path.chmod(0o700)
    agent = fresh_agent(f"--plugins={other}")
    message = refused(agent, "work.bash", 500)
    assert str(other / "work.bash") in message
    assert message.count("/work.bash") == 2


def test_a_plugin_copied_in_is_called_by_the_very_next_request(agent: Agent, drop: Drop):
    for number in range(20):
        drop("dropped.hot", f"#!/bin/sh\necho '{{\"version\": {number}}}'\n")
        assert agent.post("dropped.hot")["command_result"] == {"version": number}
    (agent.plugins / "dropped.hot").unlink()
    (agent.schemas / "dropped.hot.json").unlink()
    assert agent.send("dropped.hot", {}).status == 404


@pytest.mark.parametrize("shebang", ["#!/usr/bin/env python3", "#!/usr/bin/python3"])
def test_replaced_while_it_runs_the_old_one_ends_as_the_old_one(agent: Agent, drop: Drop, tmp_path: Path, shebang):
    go, begun = tmp_path / "go", tmp_path / "begun"
    old = f"""
import pathlib, time
pathlib.Path({str(begun)!r}).touch()
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
print('"old"')
"""
    drop("dropped.twice", f"{shebang}\n{old}", response={"const": "old"})
    running = agent.post("dropped.twice", wait=False)
    wait_for(begun.exists, "the interpreter has read the old file")
    new = agent.root / "new"
    new.write_text(f"{shebang}\nprint('\"new\"')\n")
    new.chmod(0o700)
    new.rename(agent.plugins / "dropped.twice")
    new.write_text(json.dumps(manifest(response={"const": "new"})))
    new.rename(agent.schemas / "dropped.twice.json")
    assert agent.post("dropped.twice")["command_result"] == "new"
    go.touch()
    ended = agent.command(running["id"], wait=True)
    assert ended["command_result"] == "old", ended


def test_a_file_that_is_still_being_copied_says_so(agent: Agent, drop: Drop):
    program = Path("/bin/true").read_bytes()
    path = drop("dropped.busy", program, exec={"argv": [], "stdout": "none"})
    with path.open("ab"):
        command = agent.post("dropped.busy")
        assert command["command_error"]["type"] == "NotStarted"
        assert "text file busy" in command["command_error"]["message"]
    assert agent.post("dropped.busy")["command_status"] == "SUCCEEDED"


def test_a_file_that_is_no_program(agent: Agent, drop: Drop):
    drop("dropped.text", "flash this\n")
    command = agent.post("dropped.text")
    assert command["command_error"]["type"] == "NotStarted"
    assert "neither a program" in command["command_error"]["message"]


def test_nothing_is_run_to_learn_about_it(agent: Agent, drop: Drop, tmp_path: Path):
    trace = tmp_path / "was-run"
    drop("dropped.flash", f'#!/bin/sh\necho "$@" >>{trace}\n')
    for path in ("/v1/methods", "/v1/methods/dropped.flash", "/v1/steps", "/openapi.json"):
        agent.get(path)
    time.sleep(0.1)  # nothing happens
    assert not trace.exists()


def test_the_catalogue_shows_the_sha256_of_the_file(agent: Agent, drop: Drop):
    path = drop("dropped.sum", OK)
    expected = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert agent.methods()["dropped.sum"]["sha256"] == expected
    path.write_text(OK + "# changed\n")
    assert agent.methods()["dropped.sum"]["sha256"] != expected


def test_needs_are_met_as_soon_as_the_tool_is_installed(agent: Agent, drop: Drop, tmp_path: Path):
    interpreter = tmp_path / "flashsh"
    drop("dropped.later", f"#!{interpreter}\n")
    assert agent.methods()["dropped.later"]["state"] == "unavailable"
    interpreter.write_text("#!/bin/sh\necho '{}'\n")
    interpreter.chmod(0o755)
    assert agent.post("dropped.later")["command_status"] == "SUCCEEDED"
