"""Who may come in: the token, TLS, and the refusal to listen where anybody could come."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, FreshAgent
from tests.support.certificates import client_context

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
    assert guarded.request("GET", f"/commands?agent_token={PLAIN}").status == 308
    guarded.raw(f"GET /v1/methods?agent_token={PLAIN} HTTP/9\r\n\r\n".encode())
    guarded.raw(f"GET /{'x' * 40000}?agent_token={PLAIN} HTTP/1.1\r\n\r\n".encode())
    guarded.kill("worker")
    assert PLAIN.encode() not in written(guarded)


def test_status_and_root_need_no_token(guarded: Agent):
    for path in ("/", "/v1/", "/v1/status", "/status"):
        assert guarded.request("GET", path).status == 200


def test_a_token_may_come_from_the_environment(fresh_agent: FreshAgent, monkeypatch):
    """There it is not seen in the list of processes."""
    monkeypatch.setenv("AGENT_ROUTER_TOKEN", TOKEN)
    agent = fresh_agent()
    assert agent.request("GET", "/v1/methods").status == 401
    assert agent.request("GET", f"/v1/methods?agent_token={QUOTED}").status == 200


# ---- TLS


TOO_LONG = b"POST /v1/commands/ HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"


def test_the_whole_api_over_tls(fresh_agent: FreshAgent, certificate):
    cert, key = certificate
    agent = fresh_agent(f"--cert={cert}", f"--key={key}", tls=client_context(cert))
    assert agent.post("work.python", {"n": 4, "runs": "/dev/null"})["command_result"] == {"square": 16}
    data = "x" * 3_000_000
    assert agent.post("test.echo", {"data": data})["command_result"] == {"data": data}
    command = agent.post("stop.never", {"seconds": 0.2}, wait=False)
    assert agent.events(command["id"])[-1][0] == "end"
    assert agent.methods()["test.echo"]["state"] == "ready"
    for start, status in ((b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000, b"431"), (TOO_LONG, b"413")):
        with agent.connect() as sock:
            sock.sendall(start)
            assert sock.recv(1000).startswith(b"HTTP/1.1 " + status)


def test_clients_that_stall_in_the_handshake_or_speak_plainly(fresh_agent: FreshAgent, certificate):
    cert, key = certificate
    agent = fresh_agent(f"--cert={cert}", f"--key={key}", tls=client_context(cert))
    hello = tls_hello()
    stalled = []
    for data in (b"", hello[:1], hello[: len(hello) // 2], hello, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"):
        for _ in range(10):
            sock = socket.create_connection(("127.0.0.1", agent.port), 10)
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
def test_old_tls_is_refused(fresh_agent: FreshAgent, certificate):
    cert, key = certificate
    agent = fresh_agent(f"--cert={cert}", f"--key={key}", tls=client_context(cert))
    old = client_context(cert)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", agent.port), 10) as sock, pytest.raises(ssl.SSLError):
        old.wrap_socket(sock, server_hostname="localhost")


# ---- where it listens


def refusal(agent: Agent) -> str:
    process = agent.launch()
    assert process.wait(20) == 2
    text = agent.output.read_text()
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "node.example"])
def test_it_refuses_to_listen_beyond_loopback_unguarded(fresh_agent: FreshAgent, certificate, host):
    cert, key = certificate
    tls = (f"--cert={cert}", f"--key={key}")
    token = f"--token={PLAIN}"
    text = refusal(fresh_agent(f"--host={host}", start=False))
    assert f"refusing to listen on {host}" in text
    assert "--insecure" in text
    assert "without token" not in refusal(fresh_agent(f"--host={host}", token, start=False))
    assert "without cert" not in refusal(fresh_agent(f"--host={host}", *tls, start=False))


@pytest.mark.parametrize("options", [["--insecure"], ["token", "tls"]])
def test_it_listens_beyond_loopback_when_guarded_or_told_so(fresh_agent: FreshAgent, certificate, options):
    cert, key = certificate
    given = {"token": [f"--token={PLAIN}"], "tls": [f"--cert={cert}", f"--key={key}"], "--insecure": ["--insecure"]}
    flags = [flag for option in options for flag in given[option]]
    tls = client_context(cert) if "tls" in options else None
    agent = fresh_agent("--host=0.0.0.0", *flags, tls=tls, token=PLAIN if "token" in options else "")
    assert agent.get("/v1/methods")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host=0.0.0.0", "--insecure", "--token=short"], "16 characters"),
        (["--cert=/nothing.pem"], "go together"),
        (["--cert=/nothing.pem", "--key=/nothing.pem"], "cannot be read"),
        (["--config=/nothing.toml"], "/nothing.toml"),
        (["--state=/proc/nothing"], "state directory"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_cure(fresh_agent: FreshAgent, options, words):
    assert words in refusal(fresh_agent(*options, start=False))


def test_a_key_that_does_not_fit_is_refused_at_the_start(fresh_agent: FreshAgent, certificate, tmp_path: Path):
    cert, _ = certificate
    other = tmp_path / "other.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", other], check=True, capture_output=True)
    text = refusal(fresh_agent(f"--cert={cert}", f"--key={other}", start=False))
    assert "key" in text


def test_two_agents_on_one_state_directory(fresh_agent: FreshAgent):
    first = fresh_agent()
    second = fresh_agent(start=False)
    second.state = first.state
    assert "another agent" in refusal(second)
    assert first.post("lock.none")["command_status"] == "SUCCEEDED"
