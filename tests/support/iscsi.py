"""Exports of loop disks by the real image.export_iscsi, for the tests of both directions."""

import os
import shutil

import pytest

from tests.support.plugin import PluginFailed
from tests.support.waiting import HANG_S, free_port

NAME = "image.export_iscsi"
USER, PASSWORD = "deploy", "correct-horse-battery"
CHAP = {"user": USER, "password": PASSWORD}

tools = pytest.mark.skipif(
    shutil.which("tgtd") is None or shutil.which("qemu-nbd") is None, reason="needs tgt and qemu-utils"
)


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def export(call, port, loop_disk):
    """Start an export and wait for its URL; what is still there at the end is cancelled, before its disk goes."""
    started = []

    def start(device, **more):
        more = {
            "initiators": ["127.0.0.1"],
            "address": "127.0.0.1",
            "port": port,
            "read_only": False,
            "duration_s": HANG_S,
            **more,
        }
        running = call.start(NAME, device=device, **more)
        started.append(running)
        return running, running.wait_for_event("done")["message"]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.terminate()
            running.process.wait(HANG_S)


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
