"""tools/apart.sh: whatever ends a test run, nothing of it is left on the machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.waiting import HANG_S, wait_for

ROOT = Path(__file__).resolve().parents[2]

# What tests do, in the middle of it: a daemon, a loop device, a mount, a network namespace, shared memory.
PROGRAM = """
import subprocess, sys, time
from pathlib import Path
from tests.support import apart
from tests.support.loop import LoopDevice
apart.enter()
place = Path(sys.argv[1])
loop = LoopDevice(place / "disk")
subprocess.run(["ip", "netns", "add", "left-behind"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "none", place / "mounted"], check=True)
Path("/dev/shm/left-behind").touch()
Path(place / "mounted/file").touch()
subprocess.run(f"setsid sleep 1000 {place}/daemon & disown", shell=True, executable="/bin/bash", check=False)
subprocess.Popen(["setsid", "tail", "--follow", place / "disk"], stdout=subprocess.DEVNULL)
print("ready", flush=True)
time.sleep(1000)
"""


def ctrl_c(run: "subprocess.Popen[str]") -> None:
    os.killpg(run.pid, signal.SIGINT)


def terminate(run: "subprocess.Popen[str]") -> None:
    os.killpg(run.pid, signal.SIGTERM)


def kill_the_first(run: "subprocess.Popen[str]") -> None:
    run.kill()


def working_in(place: Path) -> list[int]:
    return [pid for pid in processes.pids() if str(place).encode() in processes.read(pid, "cmdline")]


@pytest.mark.root
@pytest.mark.parametrize("end", [ctrl_c, terminate, kill_the_first])
def test_nothing_is_left(tmp_path, end):
    if os.geteuid() != 0:
        pytest.skip("needs root: makes namespaces and loop devices")
    (tmp_path / "mounted").mkdir()
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    # As make runs it: a shell in between, which may die first. A job in the background would ignore Ctrl-C.
    command = f'{ROOT}/tools/apart.sh {sys.executable} -c "$PROGRAM" {tmp_path}; exit $?'
    run = subprocess.Popen(
        ["env", "--default-signal=INT", "/bin/bash", "-c", command],
        env={**os.environ, "PROGRAM": PROGRAM, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    wait_for(lambda: len(working_in(tmp_path)) >= 3, "what goes on by itself runs")
    assert str(tmp_path / "disk") in loops()
    end(run)
    run.wait(HANG_S)
    run.stdout.close()
    wait_for(lambda: working_in(tmp_path) == [], "no process is left")
    wait_for(lambda: str(tmp_path / "disk") not in loops(), "no loop device is left")
    assert list((tmp_path / "mounted").iterdir()) == []
    assert not Path("/run/netns/left-behind").exists()
    assert not Path("/dev/shm/left-behind").exists()


def loops() -> str:
    return subprocess.run(["losetup", "--json"], capture_output=True, text=True, check=True).stdout


def test_the_exit_status_is_that_of_the_command():
    done = subprocess.run([ROOT / "tools/apart.sh", "sh", "-c", "echo said; exit 7"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (7, b"said\n")
