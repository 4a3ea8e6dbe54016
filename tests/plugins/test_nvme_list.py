"""The manifest alone: how `exec` becomes a call is tested with the router."""

import pytest

from tests.support.plugin import PLUGINS, REPO, manifest, problems

DATA = REPO / "tests/data/nvme"


def test_schema_refuses_parameters():
    assert problems("nvme.list", "request", {"verbose": True})


@pytest.mark.parametrize("output", [{}, {"Devices": None}, {"Devices": [{}]}, {"Error": "x"}])
def test_schema_refuses_an_answer_without_devices(output):
    assert problems("nvme.list", "response", output)


def test_a_machine_without_namespaces_is_an_answer():
    assert not problems("nvme.list", "response", {"Devices": []})


def test_runs_nvme_list():
    assert (PLUGINS / "nvme.list").read_text() == '#!/bin/sh\nexec nvme "$@"\n'
    assert manifest("nvme.list")["exec"]["argv"] == ["list", "--output-format=json"]


def test_a_kernel_without_nvme_is_a_failure_with_a_sentence():
    assert int((DATA / "no_nvme_in_kernel.status").read_text()) == 1
    assert "Failed to scan topology" in (DATA / "no_nvme_in_kernel.err").read_text()
    assert manifest("nvme.list")["exec"]["exit_codes"] == {"0": "ok", "*": "failed"}
