import os

import pytest

from agent_router.hardware import probe


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """`tool("exit 3")` puts a shell script named `thing` on PATH; returns the warnings that follow."""
    warnings: list[str] = []
    monkeypatch.setattr(probe.plugin, "warn", warnings.append)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(script: str) -> list[str]:
        path = tmp_path / "thing"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return warnings

    return make


def test_the_answer(tool):
    assert tool("echo hello $1") == []
    assert probe.ask("thing", "world") == "hello world\n"


@pytest.mark.parametrize(("script", "warning"), [
    ("echo one >&2; echo two >&2; exit 3", "thing exited with status 3: two"),
    ("echo on stdout; exit 3", "thing exited with status 3: on stdout"),
    ("exit 3", "thing exited with status 3: no message"),
    ("exec sleep 5", "thing did not answer within 0.1 s; some facts are missing"),
])  # fmt: skip
def test_trouble_is_a_warning_and_no_answer(tool, script, warning):
    warnings = tool(script)
    assert probe.ask("thing", limit_s=0.1 if "sleep" in script else 5) is None
    assert warnings == [warning]


def test_a_missing_tool(tool):
    warnings = tool("exit 0")
    assert probe.ask("no-such-tool-anywhere") is None
    assert warnings == ["no-such-tool-anywhere is not installed; some facts are missing"]


def test_quietly(tool):
    warnings = tool("exit 3")
    assert probe.ask("thing", quiet=True) is None
    assert warnings == []
