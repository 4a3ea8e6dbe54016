"""The manifest alone: how `exec` becomes a call is tested with the router."""

import json

import pytest

from tests.support.plugin import PLUGINS, REPO, manifest, problems

DATA = REPO / "tests/data/fwupdtool"


def test_schema_refuses_parameters():
    assert problems("firmware.devices", "request", {"device": "x"})


@pytest.mark.parametrize("name", ["no_devices", "no_such_device"])
def test_an_error_object_is_no_answer(name):
    assert problems("firmware.devices", "response", json.loads((DATA / f"{name}.out").read_text()))


def test_real_output_fits():
    output = json.loads((DATA / "virtio_vm.out").read_text())
    assert (DATA / "virtio_vm.status").read_text() == "0\n"
    assert not problems("firmware.devices", "response", output)


def test_exit_statuses_are_those_of_the_tool():
    # fwupdtool(1): 2 nothing to do (here: no device at all), 3 not found.
    outcomes = manifest("firmware.devices")["exec"]["exit_codes"]
    assert (DATA / "no_devices.status").read_text() == "2\n"
    assert (DATA / "no_such_device.status").read_text() == "3\n"
    assert outcomes == {"0": "ok", "2": "incompatible", "*": "failed"}


def test_runs_the_tool_that_needs_no_daemon():
    assert (PLUGINS / "firmware.devices").read_text() == '#!/bin/sh\nexec fwupdtool "$@"\n'
    assert manifest("firmware.devices")["exec"]["argv"] == ["get-devices", "--json"]
