"""HTTP itself: routes, redirects, wrong methods, garbage, uploads of every kind. Nobody waits for a bad client."""

import json
import re
import socket

import pytest

from tests.support import processes
from tests.support.agent import Agent
from tests.support.gate import Gate

GOOD = b'{"name": "lock.none", "params": {}}'


def post_head(length: int, *headers: str, path: str = "/v1/commands/?wait=true") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def status_of(answer: bytes) -> int:
    return int(re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)[1])


def problem_of(answer: bytes) -> dict:
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert isinstance(body["faultstring"], str)
    return body


# ---- routes


ROUTES = ["/", "/v1/", "/v1/status", "/v1/commands/", "/v1/methods", "/v1/methods/test.echo", "/v1/steps",
          "/openapi.json"]  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_answers_json(agent: Agent, path):
    reply = agent.request("GET", path)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("application/json")
    assert isinstance(reply.json, dict)


def test_paths_work_without_v1(agent: Agent):
    id = agent.post("lock.none")["id"]
    assert agent.get("/status") == agent.get("/v1/status")
    assert agent.get(f"/commands/{id}") == agent.get(f"/v1/commands/{id}")
    assert agent.get("/commands/")["commands"][-1]["id"] == id
    assert agent.request("POST", "/commands/?wait=true", GOOD).json["command_status"] == "SUCCEEDED"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("base", ["/v1/commands", "/commands"])
def test_the_last_slash_may_be_missing(agent: Agent, method, base):
    reply = agent.request(method, f"{base}?wait=true&agent_token=x%20y", GOOD if method == "POST" else None)
    assert reply.status == 200
    assert reply.json.keys() & {"commands", "command_result"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/commands/"), ("DELETE", "/v1/commands/"), ("PATCH", "/v1/commands/x"), ("POST", "/v1/status"),
        ("POST", "/v1/commands/x"), ("DELETE", "/v1/methods"), ("TRACE", "/v1/status"), ("BREW", "/v1/methods"),
    ],
)  # fmt: skip
def test_a_wrong_method_is_405(agent: Agent, method, path):
    reply = agent.request(method, path)
    assert reply.status == 405, reply
    assert method in reply.problem["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/v1/nothing", "/v1/commands/x/y", "/v2/commands/", "/v1/../etc/passwd", "/%2e%2e/etc",
        "/v1/methods/%2e%2e%2fx.y", "/v1/commands/%00", "/\xff",
    ],
)  # fmt: skip
def test_an_unknown_path_is_404(agent: Agent, path):
    answer = agent.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
    assert status_of(answer) in (400, 404), answer
    problem_of(answer)


def test_head_and_options(agent: Agent):
    for path in ("/v1/status", "/v1/commands/", "/v1/methods"):
        head = agent.raw(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status_of(head) == 200
        assert head.endswith(b"\r\n\r\n"), "a HEAD answer has no body"
        reply = agent.request("OPTIONS", path)
        assert reply.status in (200, 204)
        assert "GET" in reply.headers["Allow"]


# ---- garbage

GARBAGE = [
    b"\r\n\r\n",
    b"hello\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n",  # a TLS client
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
    b"G\xffT / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"POST /v1/commands/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /v1/commands/ HTTP/1.1\r\nContent-Length: -5\r\n\r\nabcde",
    b"POST /v1/commands/ HTTP/1.1\r\nContent-Length: +5\r\n\r\nabcde",
    b"POST /v1/commands/ HTTP/1.1\r\nContent-Length: five\r\n\r\nabcde",
    b"POST /v1/commands/ HTTP/1.1\r\nContent-Length: " + b"9" * 6000 + b"\r\n\r\n",
    b"POST /v1/commands/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"POST /v1/commands/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n",
    b"POST /v1/commands/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    b"POST /v1/commands/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_no_http_is_answered_with_an_error_or_nothing(agent: Agent, garbage):
    with agent.connect() as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while part := sock.recv(1 << 16):
            answer += part
    if answer:
        assert 400 <= status_of(answer) < 500 or status_of(answer) == 501, answer
        problem_of(answer)
    assert agent.get("/v1/status")


def test_headers_without_end_are_431(agent: Agent):
    answer = agent.raw(b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000)
    assert status_of(answer) == 431
    problem_of(answer)
    answer = agent.raw(b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n")
    assert status_of(answer) == 431


# ---- uploads


def test_a_chunked_upload(agent: Agent):
    head = b"POST /v1/commands/?wait=true HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in (GOOD[:5], GOOD[5:6], GOOD[6:]))
    with agent.connect() as sock:
        for byte in (head, chunks, b"0\r\nX-Sum: 1\r\n\r", b"\n"):
            sock.sendall(byte)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert status_of(answer) == 200
    assert b'"SUCCEEDED"' in answer
    large = json.dumps({"name": "test.echo", "params": {"data": "x" * 300_000}}).encode()
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (large[:100_000], large[100_000:]))
    assert status_of(agent.raw(head + body + b"0\r\n\r\n")) == 200


def test_a_chunked_upload_over_the_limit(agent: Agent):
    head = b"POST /v1/commands/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with agent.connect() as sock:
        sock.sendall(head)
        try:
            for _ in range(200):
                sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = sock.recv(65536)
    assert status_of(answer) == 413


def test_expect_100_continue(agent: Agent):
    with agent.connect() as sock:
        sock.sendall(post_head(len(GOOD), "Expect: 100-continue"))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(GOOD)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert status_of(answer) == 200
    with agent.connect() as sock:
        sock.sendall(post_head(9_000_000, "Expect: 100-continue"))
        assert status_of(sock.recv(1000)) == 413


def test_a_request_byte_by_byte(agent: Agent):
    with agent.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post_head(len(GOOD)) + GOOD:
            sock.sendall(bytes([byte]))
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert b'"SUCCEEDED"' in answer


def test_pipelined_requests_and_junk_are_not_run(agent: Agent):
    """One request, one answer, and the connection ends: nothing can be smuggled in behind."""
    before = len(agent.commands())
    for junk in (b"\0junk", post_head(len(GOOD)) + GOOD):
        answer = agent.raw(post_head(len(GOOD)) + GOOD + junk)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"\r\nConnection: close\r\n" in answer
    assert len(agent.commands()) == before + 2


def test_http_1_0_and_no_host(agent: Agent):
    assert status_of(agent.raw(b"GET /v1/status HTTP/1.0\r\n\r\n")) == 200
    assert status_of(agent.raw(b"GET /v1/methods HTTP/1.0\r\n\r\n")) == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_the_content_type_does_not_matter(agent: Agent, kind):
    headers = {"Content-Type": kind} if kind else {}
    for name in ("/v1/commands/?wait=true", "/v1/methods/lock.none"):
        body = GOOD if "commands" in name else b"{}"
        assert agent.request("POST", name, body, **headers).status == 200


# ---- the curl-friendly face


def test_a_method_answers_with_its_response_or_a_fitting_status(agent: Agent, gate: Gate):
    def call(name: str, body: bytes = b"{}") -> tuple[int, dict]:
        reply = agent.request("POST", f"/v1/methods/{name}", body)
        if reply.status >= 400:
            assert reply.problem["command"]["command_status"] == "FAILED"
        return reply.status, reply.json

    assert call("work.bash", b'{"n": 3, "runs": "/dev/null"}') == (200, {"square": 9})
    assert call("bad.never_ends")[0] == 504
    status, body = call("bad.answers_wrong")
    assert (status, body["code"]) == (500, "InvalidResponse")
    reply = agent.request("POST", "/v1/methods/stop.never?wait=false", b'{"until": "%s"}' % bytes(gate.path))
    assert reply.status == 202
    assert reply.headers["X-Command-Id"] == reply.json["id"]
    gate.release()
    assert agent.command(reply.json["id"], wait=True)["command_status"] == "SUCCEEDED"


# ---- the agent afterwards


def test_none_of_this_grows_the_front(agent: Agent):
    for _ in range(3):
        for garbage in GARBAGE:
            with agent.connect() as sock:
                sock.sendall(garbage)
    worker = agent.pids["front"]
    before = processes.rss_kib(worker)
    for _ in range(20):
        for garbage in GARBAGE:
            with agent.connect() as sock:
                sock.sendall(garbage)
    agent.get("/v1/status")
    assert processes.rss_kib(worker) - before < 2000
