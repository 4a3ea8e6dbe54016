import pytest

from agent_router import plugin


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """`tool(script)` puts a shell script called `thing` on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(script):
        path = tmp_path / "thing"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def failure(*args, **options):
    with pytest.raises(plugin.Failed) as caught:
        plugin.tool("thing", *args, **options)
    return caught.value


def test_output_and_arguments(tool):
    tool('for arg; do printf "<%s>" "$arg"; done')
    assert plugin.tool("thing", "a b", 5, "ü$(x)", "", "*") == "<a b><5><ü$(x)><><*>"


def test_standard_input(tool):
    tool("cat; echo noise >&2")
    assert plugin.tool("thing", stdin="text ü\n") == "text ü\n"
    assert plugin.tool("thing", stdin=b"bytes") == "bytes"
    assert plugin.tool("thing") == ""


def test_neither_side_is_a_terminal(tool):
    tool("test ! -t 0 && test ! -t 1 && test ! -t 2 && echo none")
    assert plugin.tool("thing") == "none\n"


def test_output_that_is_no_text(tool):
    tool(r"printf 'a\377b'")
    assert plugin.tool("thing") == "a\ufffdb"


@pytest.mark.parametrize(("script", "message"), [
    ("echo out; echo first >&2; echo 'the last' >&2; exit 3", "thing exited with status 3: the last"),
    ("echo 'only out'; exit 4", "thing exited with status 4: only out"),
    ("exit 5", "thing exited with status 5: no message"),
    (r"printf 'bad \377\n\n' >&2; exit 1", "thing exited with status 1: bad \ufffd"),
])  # fmt: skip
def test_a_failure_quotes_the_tools_last_line(tool, script, message):
    tool(script)
    error = failure("-x")
    assert (error.code, error.message, error.exit_status) == ("tool_failed", message, 1)
    assert error.details["command"].endswith("thing -x")


def test_exit_statuses_that_are_good(tool):
    tool("echo done; exit 2")
    assert plugin.tool("thing", ok=(0, 2)) == "done\n"
    assert failure(ok=(0, 1)).details["exit_status"] == 2


def test_a_long_log_is_cut(tool):
    tool("yes 'one line' | head -c 99990 >&2; exit 1")
    assert 3980 < len(failure().details["stderr"]) <= 4000
    assert failure().details["stderr"].startswith("one line\n")


def test_a_missing_tool():
    with pytest.raises(plugin.Failed, match="no-such-tool is not installed in this ramdisk") as caught:
        plugin.tool("no-such-tool")
    assert caught.value.code == "tool_missing"


def test_a_slow_tool(tool):
    tool("exec sleep 30")
    error = failure(timeout_s=0.2)
    assert (error.code, error.message) == ("tool_slow", "thing did not finish within 0.2 s")


def test_a_large_output(tool):
    tool("head -c 3000000 /dev/zero | tr '\\0' x")
    assert plugin.tool("thing") == "x" * 3_000_000
