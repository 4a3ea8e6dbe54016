"""The command line against a real server."""

import http.server
import json
import shlex
import socket
import subprocess
import threading

import pytest

from agent_router.cli.transport import with_query
from tests.support.waiting import HANG_S, wait_for

TOKEN = "a-token-of-24-characters"


def test_methods(cli, server):
    for done in (cli("methods", server.option), cli.local("methods"), cli("methods", AGENT_ROUTER_URL=server.url)):
        assert (done.status, done.err) == (0, "")
        found = {item["name"]: item for item in done.json["methods"]}
        assert (found["demo.echo"]["state"], found["demo.echo"]["effects"]) == ("ready", "read")
        assert (found["demo.alone"]["state"], "no manifest" in found["demo.alone"]["reason"]) == ("incomplete", True)


def test_one_method_with_its_manifest(cli, server):
    shown = cli("methods", "demo.plans", server.option).json
    assert (shown["name"], shown["manifest"]["supports"]) == ("demo.plans", ["plan"])
    done = cli("methods", "demo.none", server.option)
    assert (done.status, done.out) == (2, "")
    assert "There is no method 'demo.none'" in done.err


def test_bundled_methods_are_there_unless_left_out(cli):
    assert {"disk.list", "system.info"} <= {item["name"] for item in cli("methods").json["methods"]}
    assert cli("methods", "--no-bundled", "--plugins=/no/such", "--schemas=/no/such").json["methods"] == []


def test_steps(cli, server):
    for done in (cli("steps", server.option), cli.local("steps")):
        assert done.status == 0
        assert [(step["step"], step["priority"], step["method"]) for step in done.json["clean"]] == [
            ("demo_step", 7, "demo.plans")
        ]
        assert done.json["deploy"] == done.json["service"] == []


def test_a_call(cli, server):
    assert cli("call", "demo.echo", "text=5", "n=5", server.option).json == {"text": "5", "n": 5}
    assert cli("call", "demo.fails", server.option).status == 1
    assert cli("call", "demo.echo", "n=x", server.option).status == 2
    done = cli("call", "demo.works", "--log", server.option)
    assert (done.status, done.json, done.err.splitlines()[-1]) == (0, {"steps": 4}, "the last line")
    assert cli("call", "demo.plans", "--plan", server.option).json == {"action": "plan"}


def test_commands_and_one_command(cli, server):
    cli("call", "demo.echo", "n=77", server.option)
    done = cli("commands", server.option)
    last = done.json[-1]
    assert (done.status, last["name"], last["command_result"]) == (0, "demo.echo", {"n": 77})
    assert cli("commands", last["id"], server.option).json == last
    unknown = cli("commands", "no/such id", server.option)
    assert unknown.status == 2
    assert unknown.err.startswith("agent-router: ")


def test_watch(cli, server, gate):
    caller = cli.start("call", "demo.works", f"until={gate}", server.option)
    [id] = wait_for(lambda: server.running("demo.works"), "the command runs")
    watcher = cli.start("watch", id, server.option)
    seen = watcher.stderr.readline()
    gate.release()
    out, rest = watcher.communicate(timeout=HANG_S)
    assert (watcher.returncode, json.loads(out)) == (0, {"steps": 4})
    assert (seen + rest).decode().splitlines() == ["step 1", "step 2", "step 3", "step 4", "the last line"]
    assert caller.wait(HANG_S) == 0
    again = cli("watch", id, "--json", server.option)
    assert (again.json["command_status"], again.json["warnings"]) == ("SUCCEEDED", ["one step was slow"])


def test_cancel(cli, server, trace):
    caller = cli.start("call", "demo.waits", trace.argument, server.option)
    wait_for(trace.written, "the plugin runs")
    [id] = server.running("demo.waits")
    done = cli("cancel", id, server.option)
    assert done.status == 0
    assert done.out.startswith("demo.waits: it was cancelled after ")
    out, err = caller.communicate(timeout=HANG_S)
    assert (caller.returncode, out) == (130, b"")
    assert b"demo.waits failed (Cancelled): it was cancelled" in err
    assert trace.plugin_gone()
    again = cli("cancel", id, server.option)
    assert (again.status, again.err) == (2, f"agent-router: Command {id} has ended already\n")
    assert cli("cancel", "unknown", server.option).status == 2


# ---- token and TLS


def test_token_and_certificate(cli, secure, certificate):
    assert secure.greeting.startswith(f"agent-router: {secure.url}/ (token, state in ")
    trusted = [secure.option, f"--cacert={certificate['cert']}"]
    assert cli("call", "demo.echo", "n=1", *trusted, f"--token={TOKEN}").json == {"n": 1}
    assert cli("call", "demo.echo", "n=1", *trusted, AGENT_ROUTER_TOKEN=TOKEN).json == {"n": 1}
    assert cli("methods", secure.option, "--no-verify", f"--token={TOKEN}").status == 0
    localhost = f"--url={secure.url.replace('127.0.0.1', 'localhost')}"
    assert cli("steps", localhost, *trusted[1:], f"--token={TOKEN}").status == 0


@pytest.mark.parametrize("token", [[], ["--token=wrong"]])
def test_a_wrong_token(cli, secure, certificate, token):
    done = cli("methods", secure.option, f"--cacert={certificate['cert']}", *token)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("agent-router: Token missing or wrong; ")


def test_a_certificate_that_is_not_trusted(cli, secure):
    done = cli("methods", secure.option, f"--token={TOKEN}")
    assert done.status == 2
    assert done.err.startswith(f"agent-router: the certificate of {secure.url} is not trusted (")
    assert done.err.endswith("; use --cacert or --no-verify\n")


def test_a_certificate_file_that_is_none(cli, secure, tmp_path):
    done = cli("methods", secure.option, "--cacert=/no/such.pem")
    assert (done.status, done.err) == (2, "agent-router: --cacert /no/such.pem: No such file or directory\n")
    (tmp_path / "text").write_text("hello")
    done = cli("methods", secure.option, f"--cacert={tmp_path}/text")
    assert done.status == 2
    assert done.err.startswith(f"agent-router: --cacert {tmp_path}/text: ")
    assert done.err.count("\n") == 1


def test_http_where_https_is_spoken_and_the_other_way(cli, server, secure):
    plain = cli("methods", f"--url={secure.url.replace('https', 'http')}")
    tls = cli("methods", f"--url={server.url.replace('http', 'https')}", "--no-verify")
    for done in (plain, tls):
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith("agent-router: ")
        assert done.err.count("\n") == 1


# ---- nobody there


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "https://127.0.0.1:{port}"])
def test_nobody_answers(cli, url):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = url.format(port=probe.getsockname()[1])
        done = cli("methods", f"--url={where}")
    full = where if "//" in where else f"http://{where}"
    assert (done.status, done.err) == (2, f"agent-router: no agent answers at {full}: Connection refused\n")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:port", "http://x:99999", "http://x:0", "//"])
def test_what_is_no_url(cli, url):
    done = cli("methods", f"--url={url}")
    assert (done.status, done.err) == (2, f"agent-router: {url!r} is not a URL such as https://10.0.0.5:9999\n")


@pytest.mark.parametrize(
    ("answer", "status"), [(b"<html>hello", 404), (b"", 500), (b"[1]", 502), (b"{}", 503), (b"hello", 200)]
)
def test_a_server_that_is_something_else(cli, answer, status):
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        done = cli("methods", f"--url=http://127.0.0.1:{other.server_port}")
        other.shutdown()
    assert (done.status, done.out) == (2, "")
    sentence = f"the answer did not come from an agent: HTTP status {status} {answer.decode()}".strip()
    assert done.err == f"agent-router: {sentence}\n"


def test_a_reader_that_goes_away(cli):
    script = f"{shlex.join(cli.argv)} methods | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=HANG_S)
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.parametrize(("query", "path"), [
    ({}, "/x"), ({"plan": False, "timeout_s": None}, "/x"), ({"wait": True}, "/x?wait=true"),
    ({"timeout_s": 0.0}, "/x?timeout_s=0.0"), ({"id": "a b&c"}, "/x?id=a+b%26c"),
])  # fmt: skip
def test_queries(query, path):
    assert with_query("/x", query) == path


def test_json_is_what_a_program_reads(cli, server):
    """Piped output is one JSON document for every listing."""
    for words in (["methods"], ["steps"], ["commands"], ["methods", "demo.echo"]):
        json.loads(cli(*words, server.option).out)
