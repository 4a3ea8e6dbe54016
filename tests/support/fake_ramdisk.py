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

from tests.support.plugin import PLUGINS, REPO, FakeTool

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


def call_in_ramdisk(name: str, tmp_path: Path, fake_tool: Callable[..., FakeTool], *tools: str,
                    **request: Any) -> tuple[Any, dict[str, FakeTool]]:  # fmt: skip
    """(answer, fake tools by name)."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes namespaces")
    fakes = {tool: fake_tool(tool) for tool in tools}
    directory = tmp_path / "fakes/bin"
    (tmp_path / "sysrq").touch()
    # The fakes themselves are shell scripts and need cat, which ends no machine.
    (directory / "cat").symlink_to("/bin/cat")
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSRQ": str(tmp_path / "sysrq"), "FAKES": str(directory),
           "PYTHON": sys.executable, "PLUGIN": str(PLUGINS / name), "PYTHONPATH": str(REPO)}  # fmt: skip
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", WALLS],
        env=env, input=json.dumps(request), capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "sysrq").read_text() == ""
    return json.loads(done.stdout), fakes
