"""agent-router ramdisk: the real command, with the kernel command line of a machine that was not booted for it."""

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from agent_router.cli import ramdisk
from agent_router.commands.end_of_service import Closed
from agent_router.conductor import certificate_names
from agent_router.conductor.state import ConductorState
from agent_router.config.settings import SettingsError
from agent_router.ramdisk import identity
from agent_router.ramdisk.network import global_addresses
from tests.support.waiting import HANG_S, wait_for

ARGV = [sys.executable, "-m", "agent_router"]
GIVEN = "a-token-of-24-characters"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "agent-router.toml"
    path.write_text(f'host = "127.0.0.1"\nport = 0\nstate = "{tmp_path}/state"\ndevices = ["/dev/none"]\n')
    return path


@pytest.fixture(autouse=True)
def reached(monkeypatch):
    monkeypatch.setattr(global_addresses, "present", lambda: ["127.0.0.1"])


@pytest.fixture
def console(tmp_path, monkeypatch):
    """What the script that writes to the consoles was given."""
    script = tmp_path / "console-line"
    script.write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/said\n')
    script.chmod(0o755)
    monkeypatch.setattr(ramdisk, "CONSOLE_LINE", str(script))
    return tmp_path / "said"


def test_the_settings_file_is_completed_by_the_boot_loader(config, tmp_path):
    settings = ramdisk.prepare(str(config), {"ipa-agent-token": GIVEN})
    assert (settings.token, settings.devices, settings.insecure) == (GIVEN, ["/dev/none"], False)
    assert Path(settings.cert).parent == tmp_path / "state/tls"


def test_what_it_makes_itself_stays_over_a_restart(config):
    first, second = (ramdisk.prepare(str(config), {}) for _ in range(2))
    assert first.token == second.token
    assert len(first.token) == 48
    assert identity.fingerprint(first.cert) == identity.fingerprint(second.cert)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"ipa-advertise-host": "192.0.2.7"}, {"IP Address:192.0.2.7"}),
        ({"ipa-advertise-host": "node7.example.org"}, {"DNS:node7.example.org"}),
        ({}, {"IP Address:127.0.0.1"}),
    ],
)
def test_the_certificate_has_the_name_by_which_ironic_calls(config, given, wanted, monkeypatch):
    monkeypatch.setattr(global_addresses, "present", lambda: ["203.0.113.9"])
    settings = ramdisk.prepare(str(config), {"ipa-api-url": "http://127.0.0.1:6385", **given})
    shown = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", settings.cert],
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert wanted | {"IP Address:203.0.113.9"} <= {name.strip() for name in shown.stdout.splitlines()[1].split(",")}


def test_a_certificate_waits_for_the_route_to_ironic(config, monkeypatch):
    asked = iter([OSError("no route"), "192.0.2.7"])

    def source_address(url):
        found = next(asked)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(certificate_names.addresses, "source_address", source_address)
    settings = ramdisk.prepare(str(config), {"ipa-api-url": "http://ironic:6385"})
    assert next(asked, "both were asked") == "both were asked"
    assert identity.names_of(settings.cert) == ["192.0.2.7", "127.0.0.1"]


def test_an_agent_that_restarts_waits_for_no_network(config, monkeypatch):
    given = {"ipa-api-url": "http://127.0.0.1:6385"}
    first = ramdisk.prepare(str(config), given)
    monkeypatch.setattr(certificate_names, "wait", None)
    assert ramdisk.prepare(str(config), given).cert == first.cert


def test_a_token_that_a_lookup_brought_is_kept_over_a_restart(config, tmp_path):
    ramdisk.prepare(str(config), {"ipa-agent-token": GIVEN})
    memory = ConductorState(str(tmp_path / "state"))
    memory.token = "B" * 43
    memory.save()
    assert ramdisk.prepare(str(config), {"ipa-agent-token": GIVEN}).token == "B" * 43
    assert (tmp_path / "state/token").read_text() == "B" * 43


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, ("127.0.0.1", 0)),
        ({"ipa-listen-host": "127.0.0.2", "ipa-listen-port": "9997"}, ("127.0.0.2", 9997)),
        ({"ipa-listen-host": "[::1]", "ipa-listen-port": "x"}, ("::1", 0)),
    ],
)
def test_where_it_listens_may_be_told(config, given, where):
    settings = ramdisk.prepare(str(config), given)
    assert (settings.host, settings.port) == where


def test_the_console_shows_unusable_parameters(config, console, tmp_path, capsys):
    (tmp_path / "cmdline").write_text("quiet ipa-api-url=mdns")
    assert ramdisk.main([f"--config={config}", f"--cmdline={tmp_path}/cmdline"]) == 2
    for told in (console.read_text(), capsys.readouterr().err):
        assert "ipa-api-url=mdns is not supported" in told
        assert told.count("\n") == 1
    assert not (tmp_path / "state/tls").exists()


def test_a_certificate_of_the_operator_is_used(config, tmp_path):
    (tmp_path / "own").mkdir()
    cert, key = identity.certificate(["127.0.0.1"], tmp_path / "own", "own")
    with config.open("a") as file:
        file.write(f'cert = "{cert}"\nkey = "{key}"\n')
    assert ramdisk.prepare(str(config), {}).cert == cert
    assert not (tmp_path / "state/tls/cert.pem").exists()


@pytest.mark.parametrize(("token", "sentence"), [("short", "token is shorter than 16 characters")])
def test_a_bad_parameter_is_named(config, token, sentence):
    with pytest.raises(SettingsError, match=sentence):
        ramdisk.prepare(str(config), {"ipa-agent-token": token, "ipa-listen-host": "::"})


def test_without_ipv6_it_listens_on_ipv4(config, monkeypatch):
    config.write_text(config.read_text().replace("127.0.0.1", "::"))
    monkeypatch.setattr(ramdisk, "has_ipv6", lambda: False)
    assert ramdisk.prepare(str(config), {}).host == "0.0.0.0"


def test_it_serves_over_tls_and_demands_the_token(config, tmp_path):
    state = tmp_path / "state"
    process = subprocess.Popen([*ARGV, "ramdisk", f"--config={config}"], env=os.environ, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: (state / "listening").exists() or process.poll() is not None, "it listens")
        assert process.poll() is None
        port = (state / "listening").read_text().split()[0]
        context = ssl.create_default_context(cafile=str(state / "tls/cert.pem"))
        context.check_hostname = False
        url = f"https://127.0.0.1:{port}/v1/methods"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, context=context, timeout=HANG_S)
        assert refused.value.code == 401
        token = (state / "token").read_text()
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, context=context, timeout=HANG_S) as answer:
            assert json.load(answer)["methods"]
        assert (state / "fingerprint").read_text().strip() == identity.fingerprint(str(state / "tls/cert.pem"))
        assert stat.S_IMODE((state / "token").stat().st_mode) == 0o600
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(HANG_S)


def test_a_settings_file_that_is_wrong_stops_it_with_a_sentence(config, cli):
    config.write_text("port = 'x'\n")
    done = cli("ramdisk", f"--config={config}")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "port must be of type int" in done.err


def test_the_console_shows_why_it_does_not_start(config, console, capsys):
    config.write_text('host = "::"\ntoken = "short"\n')
    assert ramdisk.main([f"--config={config}"]) == 2
    assert console.read_text().startswith("does not start: token is shorter than 16 characters")
    assert "token is shorter" in capsys.readouterr().err


def test_the_console_shows_what_it_waits_for(config, console, monkeypatch):
    monkeypatch.setattr(global_addresses, "present", list)
    monkeypatch.setattr(ramdisk, "ADDRESS_PATIENCE_S", (0.0, 0.0))
    ramdisk.prepare(str(config), {})
    assert console.read_text() == "\n"


def test_the_console_shows_a_missing_route_to_ironic(config, console, monkeypatch):
    asked = iter([OSError(101, "Network is unreachable")] * 3 + ["192.0.2.7"])

    def source_address(url):
        found = next(asked)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(certificate_names.addresses, "source_address", source_address)
    monkeypatch.setattr(certificate_names.wait, "__defaults__", (0.0,))
    ramdisk.prepare(str(config), {"ipa-api-url": "http://ironic:6385"})
    assert console.read_text() == "waiting for the network to Ironic at http://ironic:6385: Network is unreachable\n"


def test_an_agent_that_was_closed_in_this_boot_does_nothing_more(config, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "closed").write_text("network system.lockdown\n")
    argv = [*ARGV, "ramdisk", f"--config={config}"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert "stopped by system.lockdown until the next boot" in process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)  # nothing happens
        assert [path.name for path in state.iterdir()] == ["closed"], "no token, no certificate, no port"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_S) == -signal.SIGTERM
        process.stdout.close()


@pytest.mark.parametrize(("what", "started"), [("agent", [[ramdisk.NETWORK, "again"]]), ("network", [])])
def test_after_a_rescue_the_network_is_asked_for_again_and_after_a_lockdown_it_is_not(monkeypatch, what, started):
    calls, taken_down = [], []
    monkeypatch.setattr(ramdisk.subprocess, "Popen", lambda argv, **_: calls.append(argv))
    monkeypatch.setattr(ramdisk, "take_down", lambda *_: taken_down.append(what))
    monkeypatch.setattr(ramdisk, "_call_console_line", lambda: None)
    ramdisk.at_rest(Closed(what, "a.method"))
    assert calls == started
    assert taken_down == (["network"] if what == "network" else [])
