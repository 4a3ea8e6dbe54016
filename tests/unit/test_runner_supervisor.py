"""The supervisor: a request to stop ends it, whenever it comes."""

import os
import signal
import subprocess
import sys

import pytest

# A supervisor of two children that would live for ever. At the given fork the signal has just come.
PROGRAM = """
import os, signal, sys, time
from agent_router.runner.supervisor import Supervisor
state, when = sys.argv[1], int(sys.argv[2])
forks, fork = 0, os.fork
def fork_at_a_bad_moment():
    global forks
    forks += 1
    if forks == when:
        os.kill(os.getpid(), signal.SIGTERM)
    return fork()
os.fork = fork_at_a_bad_moment
sleep = lambda: time.sleep(1000)
supervisor = Supervisor(state, {"runner": sleep, "front": sleep})
if when == 0:
    original = signal.signal
    def signal_at_once(number, handler):
        original(number, handler)
        if number == signal.SIGUSR1:
            os.kill(os.getpid(), signal.SIGTERM)
    signal.signal = signal_at_once
sys.exit(supervisor.run())
"""


@pytest.mark.parametrize("when", [0, 1, 2], ids=["before any child", "at the first fork", "at the second fork"])
def test_a_stop_while_children_are_started_ends_all(tmp_path, when):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), str(when)], start_new_session=True)
    try:
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
