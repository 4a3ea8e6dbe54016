import os
from pathlib import Path

import pytest

from tests.support.plugin import problems


def test_schema_refuses_parameters():
    assert problems("system.info", "request", {"verbose": True})


@pytest.mark.parametrize(
    "change", [{"boot_mode": "pxe"}, {"load": [1, 2]}, {"uptime_s": "5"}, {"memory_total_bytes": None}]
)
def test_schema_refuses_a_wrong_answer(call, change):
    assert problems("system.info", "response", {**call("system.info"), **change})


def test_tells_the_truth_about_this_machine(call):
    answer = call("system.info")
    assert answer["hostname"] == os.uname().nodename
    assert answer["kernel"] == os.uname().release
    assert answer["architecture"] == os.uname().machine
    assert answer["memory_total_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < answer["memory_available_bytes"] <= answer["memory_total_bytes"]
    assert answer["boot_mode"] == ("uefi" if Path("/sys/firmware/efi").exists() else "bios")
    assert answer["agent_protocol"] == 1


def test_starts_no_program(call, fake_tool):
    tools = [fake_tool(name, status=1) for name in ("uname", "uptime", "hostname", "cat", "grep", "lsblk")]
    call("system.info")
    assert all(tool.calls == [] for tool in tools)
