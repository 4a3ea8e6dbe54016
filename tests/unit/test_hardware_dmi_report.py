"""two_sockets.out is dmidecode's own output for tables made for this test (dmidecode --from-dump)."""

from pathlib import Path

import pytest

from agent_router.hardware import dmi_report

DATA = Path(__file__).resolve().parents[1] / "data/dmidecode"


@pytest.fixture
def told():
    return dmi_report.report(dmi_report.parse((DATA / "two_sockets.out").read_text()))


def test_bios(told):
    bios = told["bios"]
    assert bios["Handle"] == "Handle 0x0000, DMI type 0, 26 bytes"
    assert (bios["Vendor"], bios["Version"], bios["BIOS Revision"]) == ("Example Firmware", "2.19.1", "2.19")
    assert (bios["Characteristics"][0], bios["Characteristics"][-1]) == ("PCI is supported", "UEFI is supported")


def test_each_socket_is_listed_also_an_empty_one(told):
    assert [cpu["Status"] for cpu in told["cpu"]] == ["Populated, Enabled", "Unpopulated"]
    assert told["cpu"][0]["Flags"][0] == "FPU (Floating-point unit on-chip)"
    assert told["cpu"][0]["Core Count"] == "16", "dmidecode's words are passed on as they are"


def test_memory_of_several_arrays_is_one_with_all_slots(told):
    memory = told["memory"]
    assert memory["Number Of Devices"] == 3
    assert memory["Maximum Capacity"] == "3 TB"
    assert "Handle" not in memory
    assert [(one["Locator"], one["Size"]) for one in memory["devices"]] == [
        ("A1", "16 GB"),
        ("A2", "No Module Installed"),
        ("B1", "16 GB"),
    ]


def test_devices_without_an_array_and_an_array_that_does_not_count():
    report = dmi_report.report([(17, {"Size": "1 GB"})])
    assert report == {"bios": {}, "cpu": [], "memory": {"devices": [{"Size": "1 GB"}]}}
    report = dmi_report.report([(16, {"Handle": "x", "Number Of Devices": []})])
    assert report["memory"] == {"Number Of Devices": 0, "devices": []}


@pytest.mark.parametrize(("lines", "table"), [
    (["\tVendor: a: b"], {"Vendor": "a: b"}),
    (["\tAsset Tag:   "], {"Asset Tag": []}),
    (["\tFeatures:", "\t\tone: with a colon", "\t\ttwo"], {"Features": ["one: with a colon", "two"]}),
    (["\tLanguages: 1", "\t\ten|US|iso8859-1"], {"Languages": "1"}),
    (["\t\tlost"], {}),
    (["\t<TRUNCATED>", "Memory Device", "Wrong DMI structures count: 3 announced, only 1 decoded."], {}),
])  # fmt: skip
def test_lines(lines, table):
    handle = "Handle 0x0011, DMI type 17, 40 bytes"
    assert dmi_report.parse("\n".join([handle, *lines])) == [(17, {"Handle": handle, **table})]


@pytest.mark.parametrize("text", ["", "# dmidecode 3.4\nScanning /dev/mem for entry point.\n", "\tVendor: x\n"])
def test_no_tables(text):
    assert dmi_report.parse(text) == []


@pytest.mark.parametrize(("output", "warnings"), [
    (None, []),  # ask() has warned
    ((DATA / "no_dmi.out").read_text(), ["dmidecode found no firmware tables"]),
])  # fmt: skip
def test_a_machine_without_dmi(monkeypatch, output, warnings):
    said: list[str] = []
    monkeypatch.setattr(dmi_report, "ask", lambda *args: output)
    monkeypatch.setattr(dmi_report.plugin, "warn", said.append)
    assert dmi_report.dmi({}) == {}
    assert said == warnings
