"""What plugins, other processes and full disks do to the state directory: the agent goes on, and says what it lost."""

import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import Agent, FreshAgent, drop_into
from tests.support.gate import Gate
from tests.support.waiting import wait_for

ROOT = pytest.mark.root


def notices(agent: Agent) -> str:
    return " ".join(notice["message"] for notice in agent.get("/v1/methods")["notices"])


def works(agent: Agent) -> bool:
    return agent.post_until_answered("test.echo", {"a": 1})["command_result"] == {"a": 1}


# ---- mounts


@ROOT
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")
@pytest.mark.parametrize("mount", [
    "mkdir mnt && mount --bind {disk} mnt", "mkdir -p a/mnt && mount --bind {disk} a/mnt && mount --bind {disk} a/mnt",
    "mount --bind {disk} $HOME", "touch file && mount --bind {disk}/data file", "mount --bind {disk} ../",
    "mkdir 'a b' && mount --bind {disk} 'a b'",
])  # fmt: skip
def test_what_a_command_mounted_is_unmounted_and_kept(fresh_agent: FreshAgent, tmp_path: Path, mount: str):
    agent, disk = fresh_agent(), tmp_path / "disk"
    (disk / "etc").mkdir(parents=True)
    (disk / "data").write_text("precious")
    drop_into(agent, "dropped.mounts", f"#!/bin/bash\nset -e\n{mount.format(disk=disk)}\nfalse\n")
    command = agent.post("dropped.mounts")
    assert command["command_status"] == "FAILED"
    assert "was unmounted at its end" in str(command["warnings"])
    wait_for(lambda: not agent.cwd(command["id"]).exists(), "the directory is removed")
    assert (disk / "data").read_text() == "precious"
    assert (disk / "etc").is_dir()
    supervisor = Path(f"/proc/{agent.pids['supervisor']}/mountinfo").read_text()
    assert str(agent.state) not in supervisor


# ---- records


GARBAGE = {
    "journal": [
        b"B 1.0 [1]", b'B 1.0 {"op": "run", "id": "../x"}', b"P x 1 1.0", b"\xff\xfe", b"B nan {}",
        b"B 1.0 " + b"[" * 100_000,
    ],
    "history": [
        b"garbage", b'{"id":"x"},', b'{"id":"x","started_at":"y"},', b"\0" * 5000, b"[" * 9000 + b",", b'{"id":[]},',
    ],
    "orphans": [b"a b c", b"1 2", b"", b"\0"],
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_what_cannot_be_read_is_set_aside_and_told(fresh_agent: FreshAgent, gate: Gate, name):
    agent = fresh_agent()
    done = agent.post("test.echo", {"a": 2})
    running = agent.post("lock.one", {"thing": "x", "until": str(gate)}, wait=False)
    for text in GARBAGE[name]:
        with (agent.state / name).open("ab") as file:
            file.write(text + b"\n")
        agent.kill("runner")
        assert works(agent)
    assert agent.command(done["id"]) == done
    gate.release()
    assert agent.ended(running["id"])["command_status"] == "SUCCEEDED"
    assert agent.get("/v1/commands/")["commands"]
    if name != "orphans":
        assert f"{agent.state}/{name} could not be read" in notices(agent)
        assert (agent.state / "unreadable" / name).stat().st_size


NAMES = ("journal", "history", "orphans", "runner.sock", "runner.new", "journal.new", "history.new", "notices")


@pytest.mark.parametrize("make", ["mkfifo {}", "mkdir -p {}/x", "ln -s /nonexistent/file {}", "truncate -s 1T {}"])
def test_nothing_in_the_place_of_a_file_stops_a_start(fresh_agent: FreshAgent, make):
    agent = fresh_agent()
    for name in NAMES:
        os.kill(agent.pids["supervisor"], signal.SIGSTOP)
        supervisor = agent.pids["supervisor"]
        agent.kill("runner")
        path = agent.state / name
        subprocess.run(f"rm -rf {path}; {make.format(path)}", shell=True, check=True)
        os.kill(supervisor, signal.SIGCONT)
        assert works(agent), name


@pytest.mark.parametrize("make", ["mkfifo {}", "mkdir -p {}/x", "ln -s /dev/zero {}", "truncate -s 1T {}"])
def test_what_a_plugin_puts_in_the_place_of_its_files_stops_nobody(fresh_agent: FreshAgent, make):
    agent = fresh_agent()
    for name in ("log", "out", "events", "stream", "stdin"):
        script = f"#!/bin/bash\nrm ../{name}; {make.format('../' + name)}\nkill -9 $PPID\nsleep 0.2\nexit 3\n"
        drop_into(agent, "dropped.replaces", script)
        command = agent.post_until_answered("dropped.replaces", id=name)
        assert command["command_status"] == "FAILED"
        for path in ("log", "events"):
            assert agent.request("GET", f"/v1/commands/{name}/{path}").status in (200, 404)
        assert works(agent)


def test_events_in_a_file_of_holes_are_found(fresh_agent: FreshAgent):
    agent = fresh_agent()
    script = "import os\nos.ftruncate(3, 1 << 40)\nos.write(3, b'\\n{\"warn\": \"x\"}\\n')\nprint('{}')\n"
    drop_into(agent, "dropped.sparse", "#!/usr/bin/env python3\n" + script)
    assert agent.post("dropped.sparse")["warnings"] == ["x"]
    assert works(agent)


def test_an_emptied_state_directory_is_told_and_made_again(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent()
    done = agent.post("test.echo", {"a": 2})
    running = agent.post("lock.one", {"thing": "x", "until": str(gate)}, wait=False)
    drop_into(agent, "dropped.sweeps", '#!/bin/bash\nrm -rf "$AGENT_STATE_DIR"/*\necho "{}"\n')
    agent.post("dropped.sweeps")
    wait_for(lambda: (agent.state / "runner.sock").exists(), "the socket is there again")
    assert works(agent)
    assert "had gone from" in notices(agent)
    assert agent.command(done["id"]) == done
    agent.kill("runner")
    assert works(agent)
    assert agent.command(done["id"]) == done
    gate.release()
    assert agent.ended(running["id"])["command_status"] in ("SUCCEEDED", "FAILED")


# ---- the socket


STRANGE = [
    b"not json", b"[]", b"[" * 100_000, b'{"op":"get"}', b'{"op":"run"}', b'{"op":"judge"}',
    b'{"op":"judged","id":"x"}',
    b'{"op":"run","id":"../../x","name":"q.q","argv":["/bin/true"]}', b'{"op":"record","id":"x","name":"q.q"}',
]  # fmt: skip


def test_who_else_talks_to_the_runner_harms_nobody(fresh_agent: FreshAgent):
    agent = fresh_agent()
    before = agent.pids
    for text in STRANGE:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(agent.state / "runner.sock"))
            stranger.sendall(struct.pack("!II", len(text), 0) + text)
            assert works(agent)
        assert works(agent)
    assert agent.pids == before


# ---- processes


def test_a_runner_that_hangs_is_started_again_and_its_plugins_go_on(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent()
    running = agent.post("lock.one", {"thing": "x", "until": str(gate)}, wait=False)
    [plugin] = processes.children(agent.pids["runner"])
    hung = agent.pids["runner"]
    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: not processes.alive(hung), "it is noticed")
    assert processes.alive(plugin)
    gate.release()
    assert agent.ended(running["id"])["command_status"] == "SUCCEEDED"


def test_a_daemon_ends_with_its_command_while_another_runs(fresh_agent: FreshAgent, gate: Gate):
    """In a session of its own, in another directory, with an empty environment and no descriptor of the command."""
    agent = fresh_agent()
    daemon = 'exec env -i setsid /bin/sh -c \'echo $$ >"$0"; exec sleep 60\' "$HOME/pid" <&- >&- 2>&- 3>&-'
    script = f'#!/bin/bash\n(cd /; {daemon} &)\nuntil [[ -s pid ]]; do sleep 0.01; done\necho "$(<pid)"\n'
    drop_into(agent, "dropped.daemon", script)
    agent.post("lock.one", {"thing": "x", "until": str(gate)}, wait=False)
    pid = agent.post("dropped.daemon")["command_result"]
    wait_for(lambda: not processes.alive(pid), "the daemon is ended")
    drop_into(agent, "dropped.forks", "#!/bin/bash\nfor i in {1..20}; do (true &); done\nsleep 0.1\necho '{}'\n")
    agent.post("dropped.forks")
    wait_for(lambda: not processes.zombies(agent.pids["runner"]), "dead children are reaped")
    gate.release()


def test_runners_of_dead_supervisors_do_not_pile_up(fresh_agent: FreshAgent, gate: Gate):
    agent = fresh_agent()
    running = agent.post("lock.one", {"thing": "x", "until": str(gate)}, wait=False)
    first = agent.pids["runner"]
    waiting = []
    for _ in range(2):
        agent.kill("supervisor")
        agent.start()
        waiting += [pid for pid in processes.marked("AGENT_ROUTER_TEST_ROOT", str(agent.root))
                    if processes.title(pid) == "agent-router: runner" and pid != first]  # fmt: skip
    alive = [pid for pid in set(waiting) if processes.alive(pid)]
    assert len(alive) <= 1
    gate.release()
    assert agent.ended(running["id"])["command_status"] == "SUCCEEDED"
    wait_for(lambda: not processes.alive(first), "the old runner goes")
    wait_for(lambda: processes.parent(agent.pids.get("runner", 0)) == agent.pids["supervisor"], "its own runner serves")
    assert works(agent)


# ---- what is said


SAYS = {
    "log": "for i in 1 2 3; do echo line $i >/dev/stderr; done\necho four | tee /dev/stderr >/dev/null\necho '{}'",
    "out": "printf '{\"a\": ' >/dev/stdout; printf '1}' >/dev/stdout",
    "events": 'for i in 1 2 3; do echo "{\\"warn\\": \\"w$i\\"}" >"$AGENT_EVENTS"; done\necho \'{}\'',
}


@ROOT
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: fanotify")
def test_what_was_said_stays_when_it_is_opened_anew(agent: Agent, drop):
    commands = {}
    for name, script in SAYS.items():
        drop(f"dropped.{name}", f"#!/bin/bash\n{script}\n")
        commands[name] = agent.post(f"dropped.{name}")
    assert agent.log(commands["log"]["id"]) == "line 1\nline 2\nline 3\nfour\n"
    assert commands["out"]["command_result"] == {"a": 1}
    assert commands["events"]["warnings"] == ["w1", "w2", "w3"]


def test_a_critical_section_announced_with_a_new_open_holds(agent: Agent, drop):
    said = 'echo \'{"warn": "begin"}\' >$AGENT_EVENTS; echo \'{"critical": true}\' >$AGENT_EVENTS'
    script = f"#!/bin/bash\n{said}\nsleep 2\necho '{{}}'\n"
    drop("dropped.critical", script, timeout_s=1, grace_s=0.1)
    started = time.monotonic()
    assert agent.post("dropped.critical")["command_status"] == "SUCCEEDED"
    assert time.monotonic() - started > 1


# ---- the token


def test_no_process_of_the_agent_has_the_token_in_its_environment(fresh_agent: FreshAgent, monkeypatch):
    monkeypatch.setenv("AGENT_ROUTER_TOKEN", "a-secret-token-of-32-characters!")
    agent = fresh_agent(token="a-secret-token-of-32-characters!")
    for pid in agent.pids.values():
        assert b"AGENT_ROUTER_TOKEN" not in processes.read(pid, "environ")
    assert works(agent)
