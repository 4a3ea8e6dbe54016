import os
from pathlib import Path

import pytest

from tests.support.plugin import problems

TOOLS = ("dmidecode", "lshw", "ipmitool", "ip", "biosdevname")
# dmidecode(8); type 17 twice, one slot empty.
DMI = """# dmidecode 3.4
Handle 0x0000, DMI type 0, 26 bytes
BIOS Information
\tVendor: Example BIOS
\tVersion: 2.19.1
\tRelease Date: 06/04/2023
Handle 0x0100, DMI type 1, 27 bytes
System Information
\tManufacturer: Example
\tProduct Name: Example Server
\tSerial Number: EX4MPLE
Handle 0x1100, DMI type 17, 92 bytes
Memory Device
\tSize: 16 GB
Handle 0x1101, DMI type 17, 92 bytes
Memory Device
\tSize: No Module Installed
"""


def test_schema_refuses_parameters():
    assert problems("hardware.inventory", "request", {"fast": True})


def test_schema_refuses_an_interface_without_mac(call):
    answer = call("hardware.inventory")
    del answer["interfaces"][0]["mac_address"]
    assert problems("hardware.inventory", "response", answer)


def test_this_machine(call):
    answer = call("hardware.inventory")
    assert answer["interfaces"], "Ironic refuses an inventory without interfaces"
    assert all(len(interface["mac_address"]) == 17 for interface in answer["interfaces"])
    assert "lo" not in [interface["name"] for interface in answer["interfaces"]]
    assert answer["cpu"]["count"] == os.cpu_count()
    assert answer["cpu"]["architecture"] == os.uname().machine
    assert answer["memory"]["total"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert answer["memory"]["physical_mb"] >= answer["memory"]["total"] >> 20
    assert not [disk for disk in answer["disks"] if disk["name"].startswith(("/dev/loop", "/dev/zram"))]
    assert answer["hostname"] == os.uname().nodename


def test_what_dmi_tells_is_believed_and_lshw_not_asked(call, fake_tool):
    dmidecode, lshw = fake_tool("dmidecode", DMI), fake_tool("lshw")
    answer = call("hardware.inventory")
    assert answer["memory"]["physical_mb"] == 16384
    assert answer["system_vendor"] == {
        "product_name": "Example Server",
        "serial_number": "EX4MPLE",
        "manufacturer": "Example",
        "firmware": {"vendor": "Example BIOS", "version": "2.19.1", "build_date": "06/04/2023"},
    }
    assert dmidecode.calls == [["--type", "0,1,16,17"]]
    assert lshw.calls == []


def test_lshw_is_asked_if_dmi_tells_nothing(call, fake_tool):
    fake_tool("dmidecode", status=1)
    bank = '{"id": "bank:0", "class": "memory", "size": 8589934592}'
    lshw = fake_tool("lshw", f'{{"id": "x", "product": "By lshw", "vendor": "V", "children": [{bank}, {bank}]}}')
    answer = call("hardware.inventory")
    assert answer["memory"]["physical_mb"] == 16384
    if not Path("/sys/class/dmi/id/product_name").exists():
        assert answer["system_vendor"]["product_name"] == "By lshw"
    assert lshw.calls == [["-quiet", "-json"]]


@pytest.mark.parametrize("how", ["fails", "says garbage"])
def test_broken_tools_cost_a_warning_and_never_the_answer(call, fake_tool, how):
    for name in (*TOOLS, "lsblk"):
        fake_tool(name, stdout="{gar\nbage", stderr="bad day", status=1 if how == "fails" else 0)
    answer = call("hardware.inventory")
    assert answer["interfaces"]
    assert answer["memory"]["physical_mb"] == answer["memory"]["total"] >> 20
    assert answer["disks"] == []
    if how == "fails":
        for name in ("dmidecode", "lshw", "lsblk", "ip"):
            assert any(f"{name} exited with status 1: bad day" in warning for warning in call.warnings)
    assert any("cannot list disks" in warning for warning in call.warnings)


def test_missing_tools_cost_a_warning_and_never_the_answer(call):
    call.hide_tools()
    answer = call("hardware.inventory")
    assert answer["interfaces"]
    assert answer["disks"] == []
    for name in ("dmidecode", "lshw", "ip", "lsblk"):
        assert any(f"{name} is not installed" in warning for warning in call.warnings)


@pytest.mark.skipif(any(Path("/dev").glob("ipmi*")), reason="this machine has a BMC")
def test_without_an_ipmi_device_ipmitool_is_not_even_started(call, fake_tool):
    ipmitool = fake_tool("ipmitool")
    answer = call("hardware.inventory")
    assert ipmitool.calls == []
    assert answer["bmc_address"] is answer["bmc_v6address"] is None
    assert "bmc_mac" not in answer
