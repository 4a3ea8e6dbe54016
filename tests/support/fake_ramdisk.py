"""Run a plugin that ends machines where it believes to be in the ramdisk, and can end nothing.

Namespaces of its own hold a marker file of the ramdisk, an empty /etc and /run, a process 1 that is not
the machine's and a /proc/sysrq-trigger that is an empty file; PATH has nothing but fake tools. Any step of that failing
ends the shell before the plugin.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.plugin import PLUGINS, REPO, FakeTool, PluginFailed, problems
from tests.support.waiting import HANG_S

WALLS = """set -eu
mount -t tmpfs none /usr/share
mkdir /usr/share/agent-router
echo 1 >/usr/share/agent-router/version
mount -t tmpfs none /etc
mount -t tmpfs none /run
if [ -e /proc/sysrq-trigger ]; then mount --bind "$SYSRQ" /proc/sysrq-trigger; fi
export PATH="$FAKES"
exec "$PYTHON" "$PLUGIN"
"""


def call_in_ramdisk(
    name: str, tmp_path: Path, fake_tool: Callable[..., FakeTool], *tools: str, **request: Any
) -> tuple[Any, dict[str, FakeTool]]:
    """(answer, fake tools by name)."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes namespaces")
    fakes = {tool: fake_tool(tool) for tool in tools}
    directory = tmp_path / "fakes/bin"
    (tmp_path / "sysrq").touch()
    # The fakes themselves are shell scripts and need cat, which ends no machine.
    (directory / "cat").symlink_to("/bin/cat")
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "SYSRQ": str(tmp_path / "sysrq"),
        "FAKES": str(directory),
        "PYTHON": sys.executable,
        "PLUGIN": str(PLUGINS / name),
        "PYTHONPATH": str(REPO),
    }
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", WALLS],
        env=env, input=json.dumps(request), capture_output=True, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "sysrq").read_text() == ""
    return json.loads(done.stdout), fakes


class EndsTheMachine:
    """The tests of a plugin that asks init for `word`."""

    name: str
    word: str

    def test_schema(self) -> None:
        assert not problems(self.name, "request", {})
        assert problems(self.name, "request", {"now": True})

    def test_this_machine_is_left_alone(self, call: Any, fake_tool: Callable[..., FakeTool]) -> None:
        tools = [fake_tool(name) for name in ("systemctl", "busybox", "sync")]
        with pytest.raises(PluginFailed, match="not the utility ramdisk") as failed:
            call(self.name)
        assert (failed.value.code, failed.value.exit_status) == ("not_in_ramdisk", 77)
        assert [tool.calls for tool in tools] == [[], [], []]

    @pytest.mark.root
    def test_in_the_ramdisk_init_is_asked(self, fake_tool: Callable[..., FakeTool], tmp_path: Path) -> None:
        answer, tools = call_in_ramdisk(self.name, tmp_path, fake_tool, "sync", "busybox")
        assert answer == {"method": "busybox"}
        assert not problems(self.name, "response", answer)
        assert tools["busybox"].calls == [[self.word]]
        assert len(tools["sync"].calls) == 1
