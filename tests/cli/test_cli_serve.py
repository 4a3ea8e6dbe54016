"""agent-router serve: what it refuses, what it says, where its settings come from."""

import json
import os
import signal
import socket
import stat
import subprocess
import urllib.request

import pytest

from agent_router.config.settings import KINDS
from tests.support.waiting import HANG_S

TOKEN = "a-token-of-24-characters"


def get(url, path):
    with urllib.request.urlopen(url + path, timeout=HANG_S) as response:
        return json.load(response)


@pytest.mark.parametrize(("options", "sentence"), [
    (["--port=70000"], "port 70000 is not between 0 (any free one) and 65535"),
    (["--host=0.0.0.0"], "refusing to listen on 0.0.0.0 without token and without cert and key: "),
    (["--host=192.0.2.1"], "refusing to listen on 192.0.2.1 without token and without cert and key: "),
    (["--host=node.example"], "refusing to listen on node.example without token and without cert and key: "),
    (["--host=::", f"--token={TOKEN}"], "refusing to listen on :: without cert and key: "),
    (["--host=::", "--insecure", "--token=short"], "token is shorter than 16 characters, too short beyond loopback; "),
    (["--cert=/no/such.pem", "--key=/no/such.pem"], "cert /no/such.pem cannot be read; give the path of a PEM file"),
    (["--cert=/no/such.pem"], "cert and key go together: "),
    (["--history=0"], "history 0 is not a number of commands above 0"),
    (["--max-request-mib=1e9"], "max_request_mib 1e+09 is not between 0 and 512"),
    (["--config=/no/such.toml"], "settings file /no/such.toml: No such file or directory"),
    (["--state=/proc/no"], "the state directory /proc/no cannot be used: "),
    (["--host=192.0.2.1", "--insecure", "--port=0"], "cannot listen on 192.0.2.1:0: "),
    (["--host=no.such.host.invalid", "--insecure", "--port=0"], "cannot listen on no.such.host.invalid:0: "),
])  # fmt: skip
def test_what_is_refused(cli, tmp_path, options, sentence):
    done = cli("serve", f"--state={tmp_path}/state", *options)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"agent-router: {sentence}")
    assert done.err.count("\n") == 1


def test_a_port_that_is_taken(cli, server, tmp_path):
    port = server.url.rpartition(":")[2]
    done = cli("serve", f"--state={tmp_path}/state", f"--port={port}")
    assert done.status == 2
    assert done.err.startswith(f"agent-router: cannot listen on 127.0.0.1:{port}: Address already in use; ")


def test_a_state_directory_that_is_taken(cli, server):
    done = cli("serve", f"--state={server.state}", "--port=0")
    assert done.status == 2
    assert done.err.startswith(f"agent-router: another agent uses the state directory {server.state}; ")
    assert server.get("/v1/status")["version"], "the other one is not disturbed"


def test_a_certificate_alone_is_no_guard(cli, tmp_path, certificate):
    options = [f"--cert={certificate['cert']}", f"--key={certificate['key']}", "--host=0.0.0.0"]
    done = cli("serve", f"--state={tmp_path}/state", *options)
    assert done.status == 2
    assert done.err.startswith("agent-router: refusing to listen on 0.0.0.0 without token: ")
    assert "--insecure" in done.err


@pytest.mark.parametrize(("text", "sentence"), [
    ("prot = 1", "prot is unknown; known are bundled, cert, devices,"),
    ("port = 'x'", "port must be of type int, not 'x'"),
    ("port 1", "is not TOML: "),
])  # fmt: skip
def test_a_settings_file_that_is_wrong(cli, tmp_path, text, sentence):
    path = tmp_path / "agent.toml"
    path.write_text(text)
    done = cli("serve", AGENT_ROUTER_CONFIG=str(path))
    assert done.status == 2
    assert done.err.startswith(f"agent-router: settings file {path}")
    assert sentence in done.err


def test_a_mistake_in_the_environment(cli):
    done = cli("serve", AGENT_ROUTER_PORT="many")
    assert (done.status, done.err) == (2, "agent-router: AGENT_ROUTER_PORT must be of type int, not 'many'\n")


def test_help(cli):
    done = cli("serve", "--help")
    assert (done.status, done.err) == (0, "")
    keys = " ".join(done.out.partition("key of the settings file (")[2].partition(")")[0].split())
    assert keys.split(", ") == [*KINDS]
    for name in KINDS:
        assert ("--no-bundled" if name == "bundled" else f"--{name.replace('_', '-')} ") in done.out + " "
    assert "serve" in cli("--help").out
    assert "serve" in cli().err
    assert cli("--version").out.startswith("agent-router, version ")


@pytest.mark.parametrize("words", ["serve --prot=1", "serve extra", "nothing", "call", "methods --x"])
def test_words_that_mean_nothing(cli, words):
    done = cli(*words.split())
    assert (done.status, done.out) == (2, "")
    assert "usage" in done.err.lower()


def test_the_command_line_wins_over_the_environment_over_the_file(make_server, tmp_path, directories):
    path = tmp_path / "agent.toml"
    plugins, schemas = (option.split("=")[1] for option in directories[:2])
    path.write_text(f'port = 1\nplugins = ["{plugins}"]\nschemas = ["/no/such"]\nbundled = false\n')
    server = make_server(f"--config={path}", AGENT_ROUTER_SCHEMAS=schemas, AGENT_ROUTER_PORT="2")
    assert {item["name"]: item["state"] for item in get(server.url, "/v1/methods")["methods"]}["demo.echo"] == "ready"


def test_the_state_directory_is_private(make_server):
    server = make_server()
    assert stat.S_IMODE(os.stat(server.state).st_mode) == 0o700
    assert get(server.url, "/v1/status")["version"]
    assert server.greeting == f"agent-router: {server.url}/ (no token, state in {server.state})\n"


@pytest.mark.parametrize(("token", "warned"), [("678123", True), ("0123456789abcdef", False), ("", False)])
def test_a_short_token_is_warned_of_on_standard_error(make_server, capfd, token, warned):
    server = make_server(f"--token={token}")
    assert get(server.url, "/v1/status")["version"]
    warning = "token is shorter than 16 characters, which will do on loopback only; `openssl rand -hex 24` makes"
    assert capfd.readouterr().err == (f"agent-router: {warning} a good one\n" if warned else "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked_and_frees_the_port(make_server, number):
    server = make_server()
    get(server.url, "/v1/status")
    server.process.send_signal(number)
    assert server.process.wait(HANG_S) == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(server.url.rpartition(":")[2])))


def test_ipv6_loopback(make_server):
    server = make_server("--host=::1", pattern=r"agent-router: (http://\[::1\]:\d+)/ ")
    assert get(server.url, "/v1/status")["version"]


def test_a_certificate_that_does_not_fit_its_key(cli, certificate, tmp_path):
    """The front could not answer anybody: better told at once than in a log."""
    other = str(tmp_path / "other.pem")
    subprocess.run(["openssl", "genrsa", "-out", other, "2048"], check=True, capture_output=True)
    done = cli("serve", f"--state={tmp_path}/state", "--port=0", f"--cert={certificate['cert']}", f"--key={other}")
    assert (done.status, done.out) == (2, "")
    sentence = f"cert {certificate['cert']} and key {other} cannot be used together: "
    assert done.err.startswith(f"agent-router: {sentence}")
