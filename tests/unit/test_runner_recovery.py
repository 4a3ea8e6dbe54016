"""A runner that starts over a journal that an earlier one left; what became of processes: tests/integration."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from agent_router.ipc.client import Client, RunnerGone
from agent_router.ipc.frames import pack
from agent_router.linux.clock import boottime

HEAD = {
    "op": "run", "name": "a.b", "argv": ["/bin/true"], "params": {}, "env": {}, "locks": ["x"], "grace_s": 1,
    "timeout_s": 60,
    "out_limit": 1000, "log_limit": 1000,
}  # fmt: skip


class State:
    """A state directory, and the runner over it once it is started."""

    def __init__(self, root):
        self.path = str(root)
        os.mkdir(self.path + "/c")
        self.process = None
        self.client = Client(self.path + "/runner.sock")

    def journal(self, *lines):
        with open(self.path + "/journal", "ab") as file:
            file.writelines(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines)

    def intent(self, id, at=None, **head):
        whole = {**HEAD, "id": id, "at": time.time(), **head}
        self.journal(f"B {at or boottime():.3f} {json.dumps(whole)}")

    def directory(self, id, out=b""):
        base = f"{self.path}/c/{id}"
        os.makedirs(base + "/cwd")
        for name, text in (("stdin", b"{}"), ("out", out), ("log", b""), ("events", b"")):
            with open(f"{base}/{name}", "wb") as file:
                file.write(text)

    def start(self):
        argv = [sys.executable, "-m", "agent_router.runner", self.path]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
        self.client.call({"op": "ping"})

    def ends(self, count):
        """The first `count` ends that the runner reports, by id."""
        self.client.send({"op": "judge"})
        found = [self.client.receive() for _ in range(count)]
        return {head["id"]: {**head, "out": out} for head, out in found}

    def get(self, id):
        return self.client.call({"op": "get", "id": id})[0]["state"]


@pytest.fixture
def state(tmp_path):
    made = State(tmp_path)
    yield made
    made.client.close()
    if made.process is not None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def dead_pid():
    """The number of a process that is gone; nobody gets it again so soon."""
    done = subprocess.Popen(["/bin/true"])
    done.wait()
    return done.pid


def test_rubbish_in_the_journal_is_passed_over(state):
    state.journal(
        "", "B", "B ", "B x {}", "B 1.0 {", "B 1.0 {}", "P", "P gone 5 1.0", "P x y z", "X", "X gone 0 done 1.0 ",
        "X a b c",
        "Z 1 2", b"\xff\xfe\x00\n", b'B 1.0 {"id": "cut", "na',
    )  # fmt: skip
    state.start()
    assert state.client.call({"op": "list"})[0]["running"] == []
    assert state.get("cut") == "unknown"


def test_an_end_that_nobody_heard_of(state, dead_pid):
    state.intent("one")
    state.journal(f"P one {dead_pid} {boottime():.3f}", "X one 3 done 1234.5 ")
    state.directory("one", out=b'{"error": 1}' + b"x" * 2000)
    state.start()
    end = state.ends(1)["one"]
    assert (end["reason"], end["status"], end["ended_at"], len(end["out"])) == ("done", 3, 1234.5, 1000)
    assert end["out"].startswith(b'{"error": 1}')


def test_a_command_that_was_refused(state):
    state.intent("one", refused="/dev/x is protected")
    state.start()
    end = state.ends(1)["one"]
    assert (end["reason"], end["status"], end["message"]) == ("refused", 77, "/dev/x is protected")


def test_a_command_of_the_history_is_not_judged_again(state, dead_pid):
    state.intent("one")
    state.journal(f"P one {dead_pid} {boottime():.3f}", "X one 0 done 5.0 ")
    with open(state.path + "/history", "wb") as file:
        file.write(b'{"id":"one","started_at":1.0,"name":"a.b"},\n{"id":"half')
    state.intent("two")
    state.start()
    assert set(state.ends(1)) == {"two"}
    assert state.get("one") == "ended"
    assert state.get("half") == "unknown"


# ---- the client of the runner


def test_frames_that_arrive_together_are_received_one_by_one(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "runner.sock"))
    listener.listen()
    client = Client(str(tmp_path / "runner.sock"))
    client.send({"op": "judge"})
    peer, _ = listener.accept()
    peer.sendall(pack({"n": 1}, b"one") + pack({"n": 2}) + pack({"n": 3})[:4])
    assert client.receive() == ({"n": 1}, b"one")
    assert client.receive() == ({"n": 2}, b"")
    peer.sendall(pack({"n": 3})[4:])
    assert client.receive() == ({"n": 3}, b"")
    peer.close()
    with pytest.raises(ConnectionError):
        client.receive()
    listener.close()


def test_without_a_runner_the_client_gives_up(tmp_path):
    with pytest.raises(RunnerGone, match="the runner does not answer on"):
        Client(str(tmp_path / "gone"), patience_s=0.1).call({"op": "ping"})


LISTENS = """
import os, socket, sys
from agent_router.runner.service import Runner
path, listen = sys.argv[1] + "/runner.sock", socket.socket.listen
def listening(self, backlog):
    print(os.path.exists(path))
    listen(self, backlog)
socket.socket.listen = listening
Runner(sys.argv[1], 10, {}, os.getppid()).listen()
socket.socket(socket.AF_UNIX).connect(path)
"""


def test_the_socket_appears_when_somebody_listens(tmp_path):
    """Who waits for its name and connects must not be refused."""
    argv = [sys.executable, "-c", LISTENS, str(tmp_path)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "False\n"
