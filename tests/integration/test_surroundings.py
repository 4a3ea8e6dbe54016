"""What a plugin is given: exactly the environment, descriptors, session and signals of the protocol."""

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

import agent_router.plugin
from tests.support import processes
from tests.support.agent import Agent, Drop, FreshAgent
from tests.support.gate import Gate
from tests.support.waiting import wait_for

BOTH = pytest.mark.parametrize("probe", ["probe.warm", "probe.fresh"])
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VARIABLES = {
    "PATH", "LANG", "TERM", "HOME", "AGENT_PROTOCOL", "AGENT_METHOD", "AGENT_COMMAND_ID", "AGENT_ACTION",
    "AGENT_EVENTS", "AGENT_LIB", "AGENT_STATE_DIR", "AGENT_DEADLINE", "AGENT_DEVICES",
}  # fmt: skip


@BOTH
def test_the_environment_is_built_and_nothing_is_inherited(fresh_agent: FreshAgent, monkeypatch, probe):
    for name in ("LD_PRELOAD_X", "PYTHONPATH_X", "BASH_ENV_X", "AGENT_ROUTER_HISTORY"):
        monkeypatch.setenv(name, "1000")
    agent = fresh_agent()
    params = {"device": "/dev/sdx", "count": 3, "dry": True, "part": 0.5, "list": [1], "map": {}, "none": None,
              "bad-name": 1, "ä": 1}  # fmt: skip
    command = agent.post(probe, params)
    environ = command["command_result"]["environ"]
    # Python itself sets LC_CTYPE where it finds no UTF-8 locale.
    assert set(environ) - {"LC_CTYPE"} == VARIABLES | {
        "PARAM_device", "PARAM_count", "PARAM_dry", "PARAM_part",
    }  # fmt: skip
    deadline = int(environ.pop("AGENT_DEADLINE"))
    assert abs(deadline - command["started_at"] - 60) < 2
    expected = {
        "PATH": f"{os.path.dirname(sys.executable)}:{SYSTEM_PATH}",
        "LANG": "C.UTF-8", "TERM": "dumb", "HOME": str(agent.cwd(command["id"])), "AGENT_PROTOCOL": "1",
        "AGENT_METHOD": probe, "AGENT_COMMAND_ID": command["id"], "AGENT_ACTION": "run",
        "AGENT_EVENTS": "/dev/fd/3", "AGENT_LIB": os.path.dirname(agent_router.plugin.__file__),
        "AGENT_STATE_DIR": str(agent.state), "AGENT_DEVICES": "",
        "PARAM_device": "/dev/sdx", "PARAM_count": "3", "PARAM_dry": "true", "PARAM_part": "0.5",
    }  # fmt: skip
    assert {name: environ[name] for name in expected} == expected


def test_a_program_that_is_not_ours_gets_the_same_environment(agent: Agent):
    text = agent.post("probe.cat", {"file": "environ"})["command_result"]["text"]
    assert {item.partition("=")[0] for item in text.split("\0") if item} == VARIABLES | {"PARAM_file"}


@BOTH
def test_descriptors_are_exactly_zero_to_three(agent: Agent, probe):
    assert agent.post(probe)["command_result"]["descriptors"] == [0, 1, 2, 3]


@BOTH
def test_the_request_is_on_stdin_and_there_are_no_arguments(agent: Agent, probe):
    seen = agent.post(probe, {"a": 1})["command_result"]
    assert json.loads(seen["stdin"]) == {"a": 1}
    assert len(seen["argv"]) == 1
    assert os.path.isabs(seen["argv"][0])
    assert os.path.basename(seen["argv"][0]) == probe
    assert seen["name"] == "__main__"


@BOTH
def test_the_working_directory_is_private_empty_and_removed(agent: Agent, probe):
    command = agent.post(probe)
    seen = command["command_result"]
    assert seen["cwd"] == str(agent.cwd(command["id"]))
    assert (seen["cwd_mode"], seen["cwd_entries"], seen["umask"]) == ("0o700", [], "0o77")
    wait_for(lambda: not Path(seen["cwd"]).exists(), "the directory is removed")


def test_a_working_directory_full_of_files_is_removed_too(agent: Agent, drop: Drop):
    drop("dropped.litters", "#!/bin/bash\nmkdir -p a/b && touch a/b/c && chmod 0 a\npwd >&2\necho '{}'\n")
    command = agent.post("dropped.litters")
    wait_for(lambda: not agent.cwd(command["id"]).exists(), "the directory is removed")


@BOTH
def test_a_session_of_its_own_without_a_terminal(agent: Agent, probe):
    seen = agent.post(probe)["command_result"]
    assert seen["session"] == seen["group"] == seen["pid"]
    assert seen["terminal"] is False


# As after nohup, or in the background of a shell script, only more so.
IGNORING = """
import os, sys, signal
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGWINCH})
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_signals_are_at_their_defaults_however_the_agent_was_started(fresh_agent: FreshAgent):
    agent = fresh_agent(start=False)
    agent.prefix = (sys.executable, "-c", IGNORING)
    agent.start()
    text = agent.post("probe.cat", {"file": "status"})["command_result"]["text"]
    native = dict(line.split(":\t", 1) for line in text.splitlines())
    of_libc = 1 << 31 | 1 << 32  # posix_spawn(3) of glibc ignores its own two signals in the child
    assert (int(native["SigIgn"], 16) & ~of_libc, int(native["SigBlk"], 16)) == (0, 0)
    warm = agent.post("probe.warm")["command_result"]
    # As in any Python: it ignores these two by itself, so that a closed pipe is an exception.
    pythons_own = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    # Whatever started the agent may have used posix_spawn(3) too, make for one.
    assert warm["signals_ignored"] & ~pythons_own & ~of_libc == 0
    assert warm["signals_blocked"] == 0


def test_the_kernel_takes_a_running_plugin_before_the_agent(agent: Agent):
    command = agent.post("stop.polite", wait=False)
    [pid] = processes.children(agent.pids["runner"])
    assert Path(f"/proc/{agent.pids['runner']}/oom_score_adj").read_text() == "0\n"
    wait_for(lambda: Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n", "the kernel is told")
    agent.delete(f"/v1/commands/{command['id']}")


def test_the_state_directory_is_for_the_agent_only(agent: Agent, gate: Gate):
    command = agent.post("work.bash", {"n": 1, "until": str(gate), "runs": "/dev/null"}, wait=False)
    base = agent.state / "c" / command["id"]
    for path in (agent.state, base, *base.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    gate.release()
    agent.command(command["id"], wait=True)


@BOTH
def test_plugins_do_not_see_each_other(agent: Agent, probe):
    """A module state or a working directory that one left behind is not there for the next."""
    first = agent.post(probe, {"left": "behind"})["command_result"]
    second = agent.post(probe)["command_result"]
    assert "PARAM_left" in first["environ"]
    assert "PARAM_left" not in second["environ"]
    assert first["cwd"] != second["cwd"]
