import base64
import io
import json
import tarfile

import pytest

from tests.support.plugin import problems

COLLECTORS = {
    "journal": "journalctl",
    "dmesg": "dmesg",
    "ps": "ps",
    "lsblk": "lsblk",
    "mount": "mount",
    "df": "df",
}


def unpack(answer: dict) -> dict[str, bytes]:
    archive = io.BytesIO(base64.b64decode(answer["system_logs"], validate=True))
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


@pytest.fixture
def fakes(fake_tool):
    """Every collector says its own name, so that the tests know what must be in the archive."""
    tools = {name: fake_tool(program, f"this is {name}\n") for name, program in COLLECTORS.items()}
    return tools | {"ip": fake_tool("ip", "this is ip\n")}


@pytest.mark.parametrize("request_", [{"max_mib": 0}, {"max_mib": 12}, {"max_mib": "8"}, {"since": "today"}])
def test_schema_refuses(request_):
    assert problems("log.collect", "request", request_)


@pytest.mark.parametrize("request_", [{}, {"max_mib": 0.5}, {"max_mib": 11}])
def test_schema_accepts(request_):
    assert not problems("log.collect", "request", request_)


def test_one_file_for_each_collector(call, fakes):
    files = unpack(call("log.collect"))
    assert set(files) == {*COLLECTORS, "ip_addr", "ip_route"}
    assert all(files[name] == f"this is {name}\n".encode() for name in COLLECTORS)
    assert sorted(fakes["ip"].calls) == [["addr"], ["route", "show", "table", "all"]]
    assert "--boot" in fakes["journal"].calls[0]
    assert call.warnings == []


def test_a_failing_collector_leaves_its_error_and_what_it_said(call, fakes, fake_tool):
    fake_tool(
        "dmesg",
        stdout="half\n",
        stderr="dmesg: read kernel buffer failed: Operation not permitted\n",
        status=1,
    )
    files = unpack(call("log.collect"))
    assert files["dmesg"] == b"half\n"
    assert files["dmesg.error"] == b"exit status 1\ndmesg: read kernel buffer failed: Operation not permitted\n"
    assert "ps" in files


def test_a_missing_collector_leaves_its_error(call):
    call.hide_tools()
    files = unpack(call("log.collect"))
    assert files["journal.error"] == b"journalctl: No such file or directory\n"


def test_the_oldest_lines_of_the_largest_file_are_cut(call, fakes, fake_tool):
    lines = [base64.b64encode(str(n).encode() * 7).decode() + f" {n * 7919 % 99991}" for n in range(40000)]
    fake_tool("journalctl", "\n".join(lines) + "\n")
    answer = call("log.collect", max_mib=0.1)
    assert len(base64.b64decode(answer["system_logs"])) <= 0.1 * (1 << 20)
    kept = unpack(answer)["journal"].decode().splitlines()
    assert kept == lines[-len(kept) :], "whole lines, and the newest ones"
    assert 1000 < len(kept) < 40000
    assert call.warnings == ["the oldest part of journal was removed to keep the archive small"]


def test_the_real_tools_of_this_machine(call):
    files = unpack(call("log.collect"))
    assert b"/proc" in files["mount"]
    assert {name.removesuffix(".error") for name in files} >= {*COLLECTORS, "ip_addr"}


def test_logs_of_the_agent_without_secrets(call, fakes, tmp_path):
    state = tmp_path / "state"
    (state / "commands/1").mkdir(parents=True)
    (state / "agent.log").write_text("started\n")
    (state / "token").write_text("t0ken")
    (state / "commands/1/stdin").write_text('{"password": "s3cret"}')
    (state / "commands/1/log").write_text('login with s3cret\n{"x": "a\\"b"}\n')
    (state / "commands/1/secrets").write_text(json.dumps(["s3cret", 'a"b']))
    call.extra_env = {"AGENT_STATE_DIR": str(state)}
    files = unpack(call("log.collect"))
    assert files["agent/agent.log"] == b"started\n"
    assert files["agent/commands/1/log"] == b'login with ***\n{"x": "***"}\n'
    assert not [name for name in files if name.endswith(("stdin", "secrets", "token"))]
