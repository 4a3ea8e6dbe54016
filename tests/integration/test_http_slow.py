"""Clients that are slow, go away or come in crowds: the others are answered, and nothing piles up."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import Agent, FreshAgent, manifest
from tests.support.waiting import wait_for

GOOD = b'{"name": "lock.none", "params": {}}'
# The real program with shorter patience; the last arguments are what the harness would have started.
IMPATIENT = """
import sys
from agent_router.api import worker
worker.ARRIVAL_S, worker.SEND_S, worker.LINGER_S, worker.BYTES_PER_S = 1.0, 2.0, 0.5, 10 << 20
sys.argv = ["agent-router", *sys.argv[4:]]
from agent_router.cli import main
main()
"""


@pytest.fixture
def impatient(fresh_agent: FreshAgent) -> Agent:
    agent = fresh_agent(start=False)
    agent.prefix = (sys.executable, "-c", IMPATIENT)
    return agent.start()


def open_sockets(pid: int) -> int:
    links = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(entry.path))
        except FileNotFoundError:
            continue
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_slow_senders_are_ended_by_time_and_disturb_nobody(impatient: Agent, crowd: ExitStack):
    worker = impatient.pids["worker"]
    before = open_sockets(worker)
    begun = b"POST /v1/commands/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"
    silent = [crowd.enter_context(impatient.connect()) for _ in range(50)]
    slow = [crowd.enter_context(impatient.connect()) for _ in range(200)]
    for sock in slow:
        sock.sendall(begun)
    give_up = time.monotonic() + 10
    answers: dict[socket.socket, bytes] = {}
    while len(answers) < len(slow) and time.monotonic() < give_up:
        assert impatient.post("work.bash", {"n": 3, "runs": "/dev/null"})["command_result"] == {"square": 9}
        for sock in slow:
            if sock not in answers:
                sock.setblocking(False)
                try:
                    answers[sock] = sock.recv(65536)
                except BlockingIOError:
                    sock.setblocking(True)
                    try:
                        sock.sendall(b" ")  # one byte now and then does not buy time
                    except OSError:
                        answers[sock] = b""
    assert len(answers) == len(slow)
    told = [answer for answer in answers.values() if answer]
    assert len(told) > len(slow) // 2
    for answer in told:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_slow"
    for sock in silent:
        sock.settimeout(10)
        assert sock.recv(100) == b""
    wait_for(lambda: open_sockets(worker) <= before, "every slow connection is closed")


def test_a_client_that_does_not_read_its_answer(impatient: Agent, crowd: ExitStack):
    """The answer is larger than all buffers in between; others are served, and the connection ends."""
    big = impatient.post("test.echo", {"data": "x" * 7_000_000})["id"]
    worker = impatient.pids["worker"]
    before = open_sockets(worker)
    for path in (f"/v1/commands/{big}", "/v1/commands/", f"/v1/commands/{big}?wait=true"):
        for _ in range(5):
            sock = crowd.enter_context(impatient.connect())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for _ in range(20):
        assert impatient.post("lock.none")["command_status"] == "SUCCEEDED"
    wait_for(lambda: open_sockets(worker) <= before, "the connections that nobody reads are closed")


def test_a_client_that_goes_away_does_not_stop_its_command(agent: Agent, tmp_path: Path):
    worker = agent.pids["worker"]
    before = open_sockets(worker)
    runs = tmp_path / "runs"
    ids = [f"leaves-{number}-{os.getpid()}" for number in range(30)]
    for number, id in enumerate(ids):
        params = {"n": number, "seconds": 4 if number < 3 else 60, "runs": str(runs)}
        body = json.dumps({"name": "work.sh", "params": params}).encode()
        with agent.connect() as sock:
            head = f"POST /v1/commands/?wait=true&id={id} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall(head.encode() + body)
    wait_for(lambda: open_sockets(worker) <= before, "nothing is parked for those who left", 10)
    assert agent.command(ids[-1])["command_status"] == "RUNNING"
    for number, id in enumerate(ids[:3]):
        assert agent.command(id, wait=True)["command_result"] == {"square": number * number}
    for id in ids[3:]:
        assert agent.request("DELETE", f"/v1/commands/{id}?wait=true").json["command_error"]["type"] == "Cancelled"
    assert sorted(runs.read_text().split()) == sorted(ids)


def test_many_waiting_clients_starve_nobody(agent: Agent, crowd: ExitStack):
    id = agent.post("stop.never", {"seconds": 1.5}, wait=False)["id"]
    waiting = []
    for _ in range(400):
        sock = crowd.enter_context(agent.connect())
        sock.sendall(f"GET /v1/commands/{id}?wait=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        waiting.append(sock)
    while agent.command(id)["command_status"] == "RUNNING":
        agent.get("/v1/status")
        agent.get("/v1/methods")
    for sock in waiting:
        sock.settimeout(20)
        answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
        assert b'"SUCCEEDED"' in answer


@pytest.mark.parametrize("what", ["POST /v1/methods/stop.never", "GET /v1/commands/ID/log?follow=true"])
def test_those_who_have_left_hold_nothing(fresh_agent: FreshAgent, what):
    agent = fresh_agent()
    id = agent.post("stop.polite", wait=False)["id"]
    for _ in range(260):
        with agent.connect() as sock:
            body = b'{"seconds": 2}' if what.startswith("POST") else b""
            start = f"{what.replace('ID', id)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall(start.encode() + body)
    time.sleep(1.5)
    status = agent.request("GET", "/v1/methods").status
    for pid in processes.children(agent.pids["runner"]):
        processes.kill(pid, signal.SIGKILL)
    wait_for(lambda: not processes.children(agent.pids["runner"]), "all plugins are over")
    assert status == 200


def test_more_clients_than_descriptors(fresh_agent: FreshAgent, crowd: ExitStack):
    """Idle connections use up the agent's limit: who comes later is answered all the same."""
    agent = fresh_agent(start=False)
    agent.prefix = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
    agent.start()
    for _ in range(400):
        crowd.enter_context(agent.connect())
    for _ in range(5):  # sooner than the idle are ended by time
        for path in ("/v1/status", "/v1/commands/", "/v1/methods"):
            assert agent.request("GET", path, timeout_s=10).status == 200
    cpu = [int(text) for text in processes.stat(agent.pids["worker"])[11:13]]
    time.sleep(0.5)
    spent = sum(int(text) for text in processes.stat(agent.pids["worker"])[11:13]) - sum(cpu)
    assert spent < 30, "it spins"


def test_an_answer_of_many_megabytes_reaches_many_clients(fresh_agent: FreshAgent):
    """More than the runner keeps for one front that does not read: it waits instead of starting again for ever."""
    agent = fresh_agent()
    agent.plugins.joinpath("dropped.large").write_text(
        "#!/bin/sh\nprintf '\"'\nhead -c 70000000 /dev/zero | tr '\\0' x\nprintf '\"'\n"
    )
    agent.plugins.joinpath("dropped.large").chmod(0o700)
    agent.schemas.joinpath("dropped.large.json").write_text(json.dumps(manifest(output_limit_mib=100)))
    assert len(agent.post("dropped.large")["command_result"]) == 70_000_000
    ids = [agent.post("test.echo", {"data": "x" * 6_000_000})["id"] for _ in range(3)]
    with ThreadPoolExecutor(18) as pool:
        sizes = list(pool.map(lambda id: len(agent.request("GET", f"/v1/commands/{id}").body), ids * 6))
    assert min(sizes) > 6_000_000
