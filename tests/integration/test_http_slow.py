"""Clients that are slow, go away or come in crowds: the others are answered, and nothing piles up."""

import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import Agent, FreshAgent, manifest
from tests.support.gate import Gate
from tests.support.waiting import wait_for

GOOD = b'{"name": "lock.none", "params": {}}'
# The real program with another patience; the last arguments are what the harness would have started.
PROGRAM = """
import sys
from agent_router.api import worker
worker.ARRIVAL_S, worker.SEND_S, worker.LINGER_S, worker.BYTES_PER_S = {arrival_s}, 2.0, 0.5, 10 << 20
sys.argv = ["agent-router", *sys.argv[4:]]
from agent_router.cli import main
main()
"""
FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")


@pytest.fixture
def impatient(fresh_agent: FreshAgent) -> Agent:
    agent = fresh_agent(start=False)
    agent.prefix = (sys.executable, "-c", PROGRAM.format(arrival_s=2.0))
    return agent.start()


def open_sockets(pid: int) -> int:
    return len(sockets(pid))


def sockets(pid: int) -> set[str]:
    links = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(entry.path))
        except FileNotFoundError:
            continue
    return {link for link in links if link.startswith("socket:")}


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_slow_senders_are_ended_by_time_and_disturb_nobody(impatient: Agent, crowd: ExitStack):
    worker = impatient.pids["front"]
    before = open_sockets(worker)
    begun = b"POST /v1/commands/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"
    silent, stalled, slow = ([crowd.enter_context(impatient.connect()) for _ in range(30)] for _ in range(3))
    for sock in (*stalled, *slow):
        sock.sendall(begun)
    ended: set[socket.socket] = set()

    def all_slow_are_ended() -> bool:
        assert impatient.post("work.bash", {"n": 3, "runs": "/dev/null"})["command_result"] == {"square": 9}
        for sock in set(slow) - ended:
            try:
                sock.sendall(b" ")  # one byte now and then does not buy time
                sock.recv(65536, socket.MSG_DONTWAIT)
                ended.add(sock)
            except BlockingIOError:
                continue
            except OSError:
                ended.add(sock)
        return len(ended) == len(slow)

    wait_for(all_slow_are_ended, "the slow are ended")
    for sock in stalled:
        answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_slow"
    for sock in silent:
        assert sock.recv(100) == b""
    wait_for(lambda: open_sockets(worker) <= before, "every slow connection is closed")


def test_a_client_that_does_not_read_its_answer(impatient: Agent, crowd: ExitStack):
    """The answer is larger than all buffers in between; others are served, and the connection ends."""
    big = impatient.post("test.echo", {"data": "x" * 7_000_000})["id"]
    worker = impatient.pids["front"]
    before = open_sockets(worker)
    for path in (f"/v1/commands/{big}", "/v1/commands/", f"/v1/commands/{big}?wait=true"):
        for _ in range(2):
            sock = crowd.enter_context(impatient.connect())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for _ in range(5):
        assert impatient.post("lock.none")["command_status"] == "SUCCEEDED"
    wait_for(lambda: open_sockets(worker) <= before, "the connections that nobody reads are closed")


def test_a_client_that_goes_away_does_not_stop_its_command(agent: Agent, tmp_path: Path, gate: Gate):
    worker = agent.pids["front"]
    before = open_sockets(worker)
    runs = tmp_path / "runs"
    ids = [f"leaves-{number}-{os.getpid()}" for number in range(12)]
    for number, id in enumerate(ids):
        params = {"n": number, "until": str(gate), "runs": str(runs)}
        body = json.dumps({"name": "work.sh", "params": params}).encode()
        with agent.connect() as sock:
            head = f"POST /v1/commands/?wait=true&id={id} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall(head.encode() + body)
    wait_for(lambda: runs.exists() and len(runs.read_text().split()) == len(ids), "all have begun")
    for id in ids[3:]:
        assert agent.request("DELETE", f"/v1/commands/{id}?wait=true").json["command_error"]["type"] == "Cancelled"
    gate.release()
    for number, id in enumerate(ids[:3]):
        assert agent.command(id, wait=True)["command_result"] == {"square": number * number}
    assert sorted(runs.read_text().split()) == sorted(ids)
    wait_for(lambda: open_sockets(worker) <= before, "nothing is parked for those who left")


def test_a_client_whose_connection_breaks_is_forgotten_at_once(agent: Agent, gate: Gate):
    worker, id = agent.pids["front"], agent.post("stop.never", {"until": str(gate)}, wait=False)["id"]
    before = sockets(worker)
    for path in (f"/v1/commands/{id}?wait=true", f"/v1/commands/{id}/log?follow=true"):
        with agent.connect() as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_for(lambda: sockets(worker) - before, "the request is there")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets it
    wait_for(lambda: sockets(worker) <= before, "both are forgotten")
    assert agent.command(id)["command_status"] == "RUNNING"


HALF = [
    ("POST /v1/methods/stop.never?id=ID&timeout_s=3", b"HTTP/1.1 504 "),
    ("GET /v1/commands/ID?wait=true", b"HTTP/1.1 200 "),
    ("GET /v1/commands/ID/log?follow=true", b"HTTP/1.1 200 "), ("GET /v1/commands/ID/events", b"HTTP/1.1 200 "),
]  # fmt: skip


def test_a_client_that_closes_its_sending_side_gets_its_answer(agent: Agent, crowd: ExitStack, gate: Gate):
    """As nc -N and socat do. It waits longer than a client that is gone would be kept."""
    body = json.dumps({"until": str(gate)}).encode()
    waiting = []
    for number, (what, start) in enumerate(HALF):
        id = f"half-{number}-{os.getpid()}"
        if what.startswith("GET"):
            agent.post("stop.never", {"until": str(gate)}, wait=False, id=id, timeout_s=8)
        sock = crowd.enter_context(agent.connect())
        length = len(body) if what.startswith("POST") else 0
        head = f"{what.replace('ID', id)} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        sock.sendall(head + body[:length])
        sock.shutdown(socket.SHUT_WR)
        waiting.append((sock, start))
    for sock, start in waiting:
        assert b"".join(iter(lambda sock=sock: sock.recv(65536), b"")).startswith(start)


WAITING = [
    "GET /v1/commands/ID?wait=true", "POST /v1/methods/stop.never?id=ID", "POST /v1/commands/?id=ID&wait=true",
    "GET /v1/commands/ID/log?follow=true", "GET /v1/commands/ID/events",
]  # fmt: skip


# How each answer ends: the command, the response alone, the last chunk, the last event.
END = dict(zip(WAITING, (b'"SUCCEEDED"', b"{}", b'"SUCCEEDED"', b"0\r\n\r\n", b"event: end\ndata: {"), strict=True))


@pytest.mark.parametrize("what", WAITING)
def test_many_waiting_clients_starve_nobody(agent: Agent, crowd: ExitStack, gate: Gate, what):
    params = {"until": str(gate)}
    id = agent.post("stop.never", params, wait=False)["id"]
    body = json.dumps({"name": "stop.never", "params": params} if "commands/?" in what else params)
    request = f"{what.replace('ID', id)} HTTP/1.1\r\nHost: x\r\n"
    request += f"Content-Length: {len(body)}\r\n\r\n{body}" if what.startswith("POST") else "\r\n"
    waiting = []
    for _ in range(300):
        sock = crowd.enter_context(agent.connect())
        sock.sendall(request.encode())
        waiting.append(sock)
    threads = Path(f"/proc/{agent.pids['front']}/task")
    for path in ("/", "/v1/", "/v1/status", "/v1/commands/", f"/v1/commands/{id}", "/v1/methods", "/v1/steps"):
        agent.get(path)
    assert agent.request("GET", "/openapi.json").status == 200
    wait_for(lambda: len(list(threads.iterdir())) < 8, "no client costs a thread")
    other = agent.post("stop.polite", wait=False)["id"]
    assert agent.request("DELETE", f"/v1/commands/{other}?wait=true").status == 200
    assert agent.command(id)["command_status"] == "RUNNING"
    gate.release()
    for sock in waiting:
        answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        _, body = answer.split(b"\r\n\r\n", 1)
        assert END[what] in body


@pytest.mark.parametrize("what", ["POST /v1/methods/stop.never", "GET /v1/commands/ID/log?follow=true"])
def test_those_who_have_left_hold_nothing(fresh_agent: FreshAgent, gate: Gate, what):
    agent = fresh_agent(start=False)
    agent.prefix = FEW_DESCRIPTORS
    agent.start()
    id = agent.post("stop.never", {"until": str(gate)}, wait=False)["id"]
    for _ in range(50):
        with agent.connect() as sock:
            body = b'{"until": "%s"}' % bytes(gate.path) if what.startswith("POST") else b""
            start = f"{what.replace('ID', id)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall(start.encode() + body)
    wait_for(lambda: agent.request("GET", "/v1/methods").status == 200, "others are answered")
    assert agent.command(id)["command_status"] == "RUNNING", "and not because there is nothing more to wait for"
    for pid in processes.children(agent.pids["runner"]):
        processes.kill(pid, signal.SIGKILL)
    wait_for(lambda: not processes.children(agent.pids["runner"]), "all plugins are over")


def test_more_clients_than_descriptors(fresh_agent: FreshAgent, crowd: ExitStack):
    """Idle connections use up the agent's limit: who comes later is answered all the same."""
    agent = fresh_agent(start=False)
    # The idle are not ended by time.
    agent.prefix = (*FEW_DESCRIPTORS, sys.executable, "-c", PROGRAM.format(arrival_s=1000.0))
    agent.start()
    for _ in range(300):
        crowd.enter_context(agent.connect())
    for path in ("/v1/status", "/v1/commands/", "/v1/methods"):
        assert agent.request("GET", path).status == 200
    cpu = [int(text) for text in processes.stat(agent.pids["front"])[11:13]]
    time.sleep(0.5)  # nothing happens
    spent = sum(int(text) for text in processes.stat(agent.pids["front"])[11:13]) - sum(cpu)
    assert spent < 30, "it spins"


def test_an_answer_of_many_megabytes_reaches_many_clients(fresh_agent: FreshAgent):
    """More than the runner keeps for one front that does not read: it waits instead of starting again for ever."""
    agent = fresh_agent()
    agent.plugins.joinpath("dropped.large").write_text(
        "#!/bin/sh\nprintf '\"'\nhead -c 40000000 /dev/zero | tr '\\0' x\nprintf '\"'\n"
    )
    agent.plugins.joinpath("dropped.large").chmod(0o700)
    agent.schemas.joinpath("dropped.large.json").write_text(json.dumps(manifest(output_limit_mib=100)))
    assert len(agent.post("dropped.large")["command_result"]) == 40_000_000
    ids = [agent.post("test.echo", {"data": "x" * 6_000_000})["id"] for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        sizes = list(pool.map(lambda id: len(agent.request("GET", f"/v1/commands/{id}").body), ids * 4))
    assert min(sizes) > 6_000_000
