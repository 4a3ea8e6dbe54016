"""What a new runner makes of a state directory that an old one left: forged here, line by line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent_router.ipc import reasons
from agent_router.linux.clock import boottime
from agent_router.runner import recovery
from agent_router.runner.command import Command
from agent_router.runner.service import Runner
from agent_router.schema.jsontext import dumps
from tests.support import processes
from tests.support.waiting import HANG_S

ID = "forged"


class State:
    """A state directory with one command in its journal, and a runner to read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path / "c" / ID
        (self.base / "cwd").mkdir(parents=True)
        for name in ("stdin", "out", "log", "events"):
            (self.base / name).touch()

    def journal(self, *lines: str, locks: tuple[str, ...] = ("node",)) -> None:
        head = {
            "op": "run", "id": ID, "name": "test.forged", "argv": ["/bin/false"], "at": time.time(), "env": {},
            "params": {}, "locks": list(locks), "grace_s": 1, "out_limit": 1 << 20, "log_limit": 1 << 20,
            "timeout_s": 60,
        }  # fmt: skip
        text = f"B {boottime():.3f} {dumps(head).decode()}\n" + "".join(line + "\n" for line in lines)
        (self.path / "journal").write_text(text)

    def note(self, pid: int, status: int, leader: int = 1, born: float = 0, died: float = 0) -> None:
        died = died or boottime()
        (self.path / "orphans").write_text(f"{pid} {status} {leader} {born or died:.2f} {died:.3f}\n")

    def recover(self, seconds: float = HANG_S, then: Callable[[Runner], object] = id) -> SimpleNamespace:
        """The command after a new runner has made up its mind, or after `seconds`, and `then` has been called with it.

        In a process of its own, because a runner kills children of its process that it does not know.
        """
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                command = self._recover(seconds, then)
                keys = ("running", "pid", "phase", "reason", "status", "message")
                told = {key: getattr(command, key) for key in keys}
                told |= {"printed": command.printed.decode(), "free": self.free}
                os.write(writer, json.dumps(told).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as file:
            text = file.read()
        os.waitpid(pid, 0)
        return SimpleNamespace(**json.loads(text))

    def _recover(self, seconds: float, then: Callable[[Runner], object]) -> Command:
        recovery.PATIENCE_S = 0.3
        runner = Runner(str(self.path), 100, {}, os.getppid())
        self.free = [name for name in ("disk:/dev/sdx", "disk:/dev/sdy") if not runner.locks.holder([name])]
        give_up = time.monotonic() + seconds
        while ID in runner.execution.live and time.monotonic() < give_up:
            runner.loop.later(0.05, int)
            runner.loop.run_once()
        then(runner)
        return runner.unjudged.get(ID) or runner.execution.live[ID]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    mask = os.umask(0o022)
    yield State(tmp_path)
    os.umask(mask)


@pytest.fixture
def process() -> Iterator[Callable[..., int]]:
    """A session leader that works in a directory; its pid."""
    made: list[subprocess.Popen[bytes]] = []

    def start(cwd: Path) -> int:
        program = [sys.executable, "-c", "import time; time.sleep(60)"]
        made.append(subprocess.Popen(program, cwd=cwd, start_new_session=True))
        return made[-1].pid

    yield start
    for one in made:
        one.kill()
        one.wait()


def test_a_stranger_with_the_pid_of_a_plugin_is_neither_trusted_nor_killed(state: State, process, tmp_path: Path):
    """The journal's pid was noted before this process was born, so it is another's."""
    noted = boottime()
    time.sleep(0.1)  # start times are told in ticks
    stranger = process(tmp_path)
    state.journal(f"P {ID} {stranger} {noted:.3f}")
    command = state.recover()
    assert command.reason == reasons.UNKNOWN
    assert processes.alive(stranger)


def test_a_plugin_that_still_runs_is_adopted_with_its_locks(state: State, process):
    plugin = process(state.base / "cwd")
    state.journal(f"P {ID} {plugin} {boottime():.3f}")
    command = state.recover(seconds=0.3)
    assert (command.running, command.pid) == (True, plugin)
    assert processes.alive(plugin)


def test_the_note_of_an_end_is_believed(state: State):
    state.journal(f"P {ID} 4194300 {boottime():.3f}")
    state.note(4194300, 3)
    command = state.recover()
    assert (command.reason, command.status) == (reasons.DONE, 3)


def test_a_note_that_is_older_than_the_process_is_of_another(state: State):
    state.note(4194300, 0, died=boottime() - 5)
    state.journal(f"P {ID} 4194300 {boottime():.3f}")
    assert state.recover().reason == reasons.UNKNOWN


@pytest.mark.parametrize("said", ["", '{"seq": 1, "at": 20, "time": 1.5, "event": "progress", "data": {"done": 1}}\n'])
def test_an_end_in_the_journal_is_final(state: State, said):
    """Also that of a command that had something to tell while it ran."""
    (state.base / "out").write_text("{}")
    if said:
        (state.base / "stream").write_text(said)
    state.journal(f"P {ID} 4194300 {boottime():.3f}", f"X {ID} 0 done {time.time():.6f} ")
    command = state.recover()
    assert (command.reason, command.status, command.printed) == (reasons.DONE, 0, "{}")


def test_an_intent_without_a_process_was_not_started(state: State):
    state.journal()
    forget_directory(state)
    command = state.recover()
    assert command.reason == reasons.NOT_STARTED
    assert "before it could start it" in command.message


def forget_directory(state: State) -> None:
    """As if the runner had died before it made the command's directory."""
    for name in ("stdin", "out", "log", "events"):
        (state.base / name).unlink()
    (state.base / "cwd").rmdir()
    state.base.rmdir()


def test_an_intent_with_a_directory_and_a_new_supervisor_is_unknown(state: State):
    """It may have come and gone: the one who would have seen its end is dead too."""
    state.journal()
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from test_recovery import State
state = State.__new__(State)
state.path = {str(state.path)!r}
print(state.recover().reason)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == reasons.UNKNOWN, done.stderr


def test_an_intent_whose_process_runs_is_found_by_its_directory(state: State, process):
    state.journal()
    plugin = process(state.base / "cwd")
    command = state.recover(seconds=0.3)
    assert (command.running, command.pid) == (True, plugin)


def test_an_intent_whose_process_has_ended_is_found_in_the_notes(state: State):
    state.journal()
    state.note(4194300, 7)
    command = state.recover()
    assert (command.pid, command.status, command.reason) == (4194300, 7, reasons.DONE)


def test_a_stray_of_another_command_is_not_taken_for_the_plugin(state: State):
    """Notes of processes that lead no session, or that are older than the intent."""
    state.note(4194300, 0, leader=0)
    state.journal()
    assert state.recover().reason != reasons.DONE
    state.note(4194300, 0, born=boottime() - 30)
    state.journal()
    assert state.recover().reason != reasons.DONE


def test_an_end_whose_output_is_gone_is_unknown(state: State):
    """It was given up for room on a full disk, and then the verdict was lost with the runner."""
    (state.base / "out").unlink()
    state.journal(f"P {ID} 4194300 {boottime():.3f}", f"X {ID} 0 done {time.time():.6f} ")
    assert state.recover().reason == reasons.UNKNOWN


@pytest.mark.parametrize("garbage", ["P forged", "X forged", "B 1.0 {", "P unknown 1 1.0", "\0\0\0", "X forged 0 do"])
def test_a_line_cut_short_is_passed_over(state: State, process, garbage):
    plugin = process(state.base / "cwd")
    state.journal(f"P {ID} {plugin} {boottime():.3f}", garbage)
    command = state.recover(seconds=0.3)
    assert (command.running, command.pid) == (True, plugin)


def test_locks_are_taken_again(state: State, process):
    plugin = process(state.base / "cwd")
    state.journal(f"P {ID} {plugin} {boottime():.3f}", locks=("disk:/dev/sdx",))
    assert state.recover(seconds=0.1).free == ["disk:/dev/sdy"]


# ---- stopping


@pytest.mark.parametrize("stop", [
    lambda runner: runner.execution.stop(runner.execution.live[ID], reasons.TIMEOUT),
    lambda runner: runner._cancel({"id": ID}),
], ids=["time limit", "cancel"])  # fmt: skip
def test_a_critical_section_is_heard_of_before_the_plugin_is_stopped(state: State, process, stop):
    """It began a moment ago, and the runner was busy with something else."""
    plugin = process(state.base / "cwd")
    state.journal(f"P {ID} {plugin} {boottime():.3f}")

    def enter_and_stop(runner: Runner) -> None:
        os.write(runner.execution.live[ID].events, b'{"critical": true}\n')  # as the plugin does
        stop(runner)

    command = state.recover(seconds=0, then=enter_and_stop)
    assert (command.running, command.phase) == (True, "running")
    assert processes.alive(plugin)
