"""Who may come in: the token, and TLS. (Where it refuses to listen: tests/cli/test_cli_serve.py.)"""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, FreshAgent
from tests.support.certificates import client_context
from tests.support.gate import Gate
from tests.support.waiting import HANG_S

TOKEN = "0123456789abcdef-the-token-Äß"
QUOTED = "0123456789abcdef-the-token-%C3%84%C3%9F"
PLAIN = "fedcba9876543210-the-token"


@pytest.fixture(scope="module")
def guarded(memory_dir: Path, test_plugins: tuple[str, str]) -> Iterator[Agent]:
    agent = Agent(memory_dir / "guarded", *test_plugins, f"--token={PLAIN}").start()
    yield agent
    agent.stop()
    agent.kill_all()


def written(agent: Agent) -> bytes:
    """Everything the agent has written anywhere."""
    files = [path for path in agent.state.rglob("*") if path.is_file()]
    return b"\n".join(path.read_bytes() for path in (*files, agent.output))


# ---- the token

PATHS = ["/v1/commands/", "/commands/", "/v1/commands/x", "/v1/methods", "/v1/methods/test.echo", "/v1/steps",
         "/openapi.json", "/v1/commands/x/log", "/v1/commands/x/events", "/v1/nothing"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_without_the_right_token_nothing_is_answered(guarded: Agent, path):
    bearers = [PLAIN + "x", PLAIN[:-1], PLAIN.upper(), "Ä"]
    headers = ["", "Bearer", f"Basic {PLAIN}", *(f"Bearer {text}" for text in bearers)]
    queries = ["", "x", "%ff", PLAIN + "x", PLAIN[:-1], f"x&agent_token={PLAIN}"]
    replies = [guarded.request("GET", path, Authorization=text) for text in headers]
    replies += [guarded.request("GET", f"{path}?agent_token={text}") for text in queries]
    for reply in replies:
        assert reply.status == 401
        assert reply.problem["code"] == "token_invalid"
        assert b"agent_token" not in reply.body, "Ironic takes that word for an agent that is too old for tokens"
    assert PLAIN.encode() not in written(guarded)


def test_every_writing_route_wants_the_token(guarded: Agent):
    body = b'{"name": "lock.none", "params": {}}'
    calls = [("POST", "/v1/commands/?wait=true"), ("POST", "/v1/methods/lock.none"), ("DELETE", "/v1/commands/x")]
    for method, path in calls:
        assert guarded.request(method, path, body).status == 401
    # A large body takes another way through the front.
    assert guarded.request("POST", "/v1/commands/", body + b" " * 100_000).status == 401
    assert guarded.request("GET", "/v1/commands/", Authorization=f"Bearer {PLAIN}").json == {"commands": []}


def test_the_token_is_taken_as_header_or_query_and_never_written(guarded: Agent):
    body = b'{"name": "probe.fresh", "params": {}}'
    for query, header in ((f"&agent_token={PLAIN}", ""), ("", f"Bearer {PLAIN}"), ("", f"bearer {PLAIN}")):
        reply = guarded.request("POST", f"/v1/commands/?wait=true{query}", body, Authorization=header)
        assert reply.status == 200
        assert PLAIN not in str(reply.json["command_result"]["environ"])
    assert guarded.request("GET", f"/v1/nothing?agent_token={PLAIN}").status == 404
    assert guarded.request("GET", f"/commands?agent_token={PLAIN}").status == 200
    guarded.raw(f"GET /v1/methods?agent_token={PLAIN} HTTP/9\r\n\r\n".encode())
    guarded.raw(f"GET /{'x' * 40000}?agent_token={PLAIN} HTTP/1.1\r\n\r\n".encode())
    guarded.kill("front")
    assert PLAIN.encode() not in written(guarded)


@pytest.mark.parametrize("head", [
    b"POST /v1/commands/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n",
    b"POST /v1/methods/test.echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7f0000\r\n",
    b"POST /v1/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
])  # fmt: skip
def test_nobody_without_the_token_is_asked_for_a_body(guarded: Agent, head):
    with guarded.connect() as sock:
        sock.sendall(head)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'"code":"token_invalid"' in answer


def test_status_and_root_need_no_token(guarded: Agent):
    for path in ("/", "/v1/", "/v1/status", "/status"):
        assert guarded.request("GET", path).status == 200


def test_a_token_may_come_from_the_environment(fresh_agent: FreshAgent, monkeypatch):
    """There it is not seen in the list of processes."""
    monkeypatch.setenv("AGENT_ROUTER_TOKEN", TOKEN)
    agent = fresh_agent()
    assert agent.request("GET", "/v1/methods").status == 401
    assert agent.request("GET", f"/v1/methods?agent_token={QUOTED}").status == 200


# ---- no token: web pages

PAGES = [
    {"Origin": "http://evil.example", "Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "null", "Content-Type": "application/x-www-form-urlencoded"},
    {"Host": "evil.example:9999", "Origin": "http://evil.example:9999", "Content-Type": "application/json"},
    {"Host": "evil.example:9999", "Content-Type": "application/json"},
]  # fmt: skip


@pytest.mark.parametrize("headers", PAGES)
@pytest.mark.parametrize(("path", "body"), [
    ("/v1/methods/lock.none", b"{}"), ("/v1/commands/?wait=true", b'{"name": "lock.none", "params": {}}'),
])  # fmt: skip
def test_no_web_page_runs_anything(agent: Agent, headers, path, body):
    before = agent.commands()
    reply = agent.request("POST", path, body, **headers)
    assert (reply.status, reply.problem["code"]) in ((403, "origin_foreign"), (403, "host_unknown"))
    assert agent.commands() == before
    assert agent.request("DELETE", "/v1/commands/x", None, **headers).status == 403


def test_a_token_is_all_that_counts_where_there_is_one(guarded: Agent):
    """A page does not know it; a proxy or a tool in a browser may send what it likes."""
    for headers in PAGES:
        reply = guarded.request("POST", "/v1/methods/lock.none", b"{}", Authorization=f"Bearer {PLAIN}", **headers)
        assert reply.status == 200


# ---- TLS


TOO_LONG = b"POST /v1/commands/ HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"


@pytest.fixture(scope="module")
def secure(memory_dir: Path, test_plugins: tuple[str, str], certificate) -> Iterator[Agent]:
    cert, key = certificate
    options = (*test_plugins, f"--cert={cert}", f"--key={key}")
    agent = Agent(memory_dir / "secure", *options, tls=client_context(cert)).start()
    yield agent
    agent.stop()
    agent.kill_all()


def test_the_whole_api_over_tls(secure: Agent, gate: Gate):
    agent = secure
    assert agent.post("work.python", {"n": 4, "runs": "/dev/null"})["command_result"] == {"square": 16}
    data = "x" * 3_000_000
    assert agent.post("test.echo", {"data": data})["command_result"] == {"data": data}
    command = agent.post("stop.never", {"until": str(gate)}, wait=False)
    gate.release()
    assert agent.events(command["id"])[-1][0] == "end"
    assert agent.methods()["test.echo"]["state"] == "ready"
    for start, status in ((b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000, b"431"), (TOO_LONG, b"413")):
        with agent.connect() as sock:
            sock.sendall(start)
            assert sock.recv(1000).startswith(b"HTTP/1.1 " + status)


def test_clients_that_stall_in_the_handshake_or_speak_plainly(secure: Agent):
    agent = secure
    hello = tls_hello()
    stalled = []
    for data in (b"", hello[:1], hello[: len(hello) // 2], hello, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"):
        for _ in range(10):
            sock = socket.create_connection(("127.0.0.1", agent.port), HANG_S)
            sock.sendall(data)
            stalled.append(sock)
    for _ in range(5):
        assert agent.post("lock.none")["command_status"] == "SUCCEEDED"
        assert agent.get("/v1/methods")
    for sock in stalled:
        sock.close()
    assert agent.get("/v1/status")


def tls_hello() -> bytes:
    """The first flight of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
def test_old_tls_is_refused(secure: Agent, certificate):
    old = client_context(certificate[0])
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", secure.port), HANG_S) as sock, pytest.raises(ssl.SSLError):
        old.wrap_socket(sock, server_hostname="localhost")


# ---- where it listens


@pytest.mark.parametrize("options", [["--insecure"], ["token", "tls"]])
def test_it_listens_beyond_loopback_when_guarded_or_told_so(fresh_agent: FreshAgent, certificate, options):
    cert, key = certificate
    given = {"token": [f"--token={PLAIN}"], "tls": [f"--cert={cert}", f"--key={key}"], "--insecure": ["--insecure"]}
    flags = [flag for option in options for flag in given[option]]
    tls = client_context(cert) if "tls" in options else None
    agent = fresh_agent("--host=0.0.0.0", *flags, tls=tls, token=PLAIN if "token" in options else "")
    assert agent.get("/v1/methods")
