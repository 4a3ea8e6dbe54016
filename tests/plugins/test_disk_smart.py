"""The manifest alone: how `exec` becomes a call is tested with the router."""

import json

import pytest

from tests.support.plugin import PLUGINS, REPO, manifest, problems

DATA = REPO / "tests/data/smartctl"


@pytest.mark.parametrize("device", ["sda", "--help", "/dev/", "/dev/sda -d sat", 1])
def test_schema_refuses(device):
    assert problems("disk.smart", "request", {"device": device})


def test_runs_smartctl_on_the_device_alone():
    assert (PLUGINS / "disk.smart").read_text() == '#!/bin/sh\nexec smartctl "$@"\n'
    assert manifest("disk.smart")["exec"]["argv"] == ["--json", "--all", "{device}"]


def test_only_the_bits_that_mean_no_answer_are_failures():
    # smartctl(8), EXIT STATUS: 0 command line, 1 open failed, 2 a command failed, 3 to 7 the disk's health.
    bits = manifest("disk.smart")["exec"]["exit_bits"]
    assert [bits[str(bit)] for bit in range(8)] == ["invalid", "failed"] + ["ok"] * 6


def test_a_disk_without_smart_gives_bit_0_and_no_device():
    status = int((DATA / "virtio_no_smart.status").read_text())
    assert status & 1
    output = json.loads((DATA / "virtio_no_smart.out").read_text())
    assert output["smartctl"]["exit_status"] == status
    assert problems("disk.smart", "response", output) == ["$: 'device' is a required property"]
