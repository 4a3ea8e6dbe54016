from pathlib import Path

import pytest

from tests.support.plugin import problems

DATA = Path(__file__).resolve().parents[1] / "data/dmidecode"


def test_schema_refuses_parameters():
    assert problems("inspect.dmi", "request", {"type": 17})


@pytest.mark.parametrize("memory", [{}, {"devices": [{"Size": 16}]}, {"devices": [], "Number Of Devices": "2"}])
def test_schema_refuses_other_shapes_of_memory(memory):
    assert not problems("inspect.dmi", "response", {"dmi": {"bios": {}, "cpu": [], "memory": {"devices": []}}})
    assert problems("inspect.dmi", "response", {"dmi": {"bios": {}, "cpu": [], "memory": memory}})


def test_captured_tables(call, fake_tool):
    dmidecode = fake_tool("dmidecode", (DATA / "two_sockets.out").read_text())
    found = call("inspect.dmi")["dmi"]
    assert dmidecode.calls == [["--type", "0", "--type", "4", "--type", "16", "--type", "17"]]
    assert found["bios"]["Vendor"] == "Example Firmware"
    assert len(found["cpu"]) == 2
    assert found["memory"]["Number Of Devices"] == len(found["memory"]["devices"]) == 3
    assert call.warnings == []


@pytest.mark.parametrize(("status", "warning"), [
    (1, "dmidecode exited with status 1: /dev/mem: No such file or directory"),
    (0, "dmidecode found no firmware tables"),
])  # fmt: skip
def test_a_machine_without_dmi(call, fake_tool, status, warning):
    fake_tool("dmidecode", (DATA / "no_dmi.out").read_text(), (DATA / "no_dmi.err").read_text(), status)
    assert call("inspect.dmi") == {}
    assert call.warnings == [warning]


def test_a_ramdisk_without_dmidecode(call):
    call.hide_tools()
    assert call("inspect.dmi") == {}
    assert call.warnings == ["dmidecode is not installed; some facts are missing"]
