"""Exports of loop disks by the real image.export_iscsi, for the tests of both directions."""

import os
import shutil
import socket

import pytest

from tests.support.plugin import PluginFailed

NAME = "image.export_iscsi"
USER, PASSWORD = "deploy", "correct-horse-battery"
CHAP = {"user": USER, "password": PASSWORD}

tools = pytest.mark.skipif(
    shutil.which("tgtd") is None or shutil.which("qemu-nbd") is None, reason="needs tgt and qemu-utils"
)


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def export(call, port):
    """Start an export and wait for its URL; what is still there at the end is cancelled."""
    started = []

    def start(device, **more):
        more = {"initiators": ["127.0.0.1"], "address": "127.0.0.1", "port": port, "read_only": False,
                "duration_s": 40, **more}  # fmt: skip
        running = call.start(NAME, device=device, **more)
        started.append(running)
        return running, running.wait_for_event("done")["message"]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.terminate()
            running.process.wait(20)


def cancelled(running):
    running.terminate()
    with pytest.raises(PluginFailed) as failed:
        running.finish()
    return failed.value


def group_is_empty(running):
    try:
        os.killpg(running.process.pid, 0)
    except ProcessLookupError:
        return True
    return False
