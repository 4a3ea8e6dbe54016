import pytest

from agent_router.hardware import extra_hardware
from agent_router.plugin import Failed


@pytest.fixture
def warnings(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(extra_hardware.plugin, "warn", said.append)
    return said


def test_facts(warnings):
    assert extra_hardware.parse('[["disk", "sda", "size", "480"], ["cpu", "x", "y", NaN]]\n') == [
        ["disk", "sda", "size", "480"], ["cpu", "x", "y", None],
    ]  # fmt: skip
    assert extra_hardware.parse("[]") == []
    assert warnings == []


def test_facts_that_are_none_are_left_out(warnings):
    assert extra_hardware.parse('[["a", "b", "c", 1], ["a", "b"], "x", null]') == [["a", "b", "c", 1]]
    assert warnings == ["3 facts of hardware-detect are ignored: they do not have four parts"]


@pytest.mark.parametrize("text", ["", "Traceback", "{}", "[["])
def test_what_is_no_list(text):
    with pytest.raises(Failed, match="did not print a JSON list") as caught:
        extra_hardware.parse(text)
    assert caught.value.code == "no_data"


@pytest.mark.parametrize(("given", "chosen"), [
    ({}, []), ({"ipa-inspection-benchmarks": ""}, []), ({"ipa-inspection-benchmarks": "cpu, disk"}, ["cpu", "disk"]),
])  # fmt: skip
def test_benchmarks_of_the_kernel_command_line(given, chosen):
    assert extra_hardware.benchmarks(given) == chosen


def test_an_unknown_benchmark(warnings):
    assert extra_hardware.benchmarks({"ipa-inspection-benchmarks": "--benchmark-disk-destructive,mem"}) == ["mem"]
    assert warnings == ["unknown benchmark --benchmark-disk-destructive; use cpu, mem, disk"]
