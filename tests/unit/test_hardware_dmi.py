import json

import pytest

from agent_router.hardware import dmi
from agent_router.hardware.dmi import Structure

TEXT = """# dmidecode 3.4
Getting SMBIOS data from sysfs.

Handle 0x0001, DMI type 1, 27 bytes
System Information
\tManufacturer: Example: the second colon
\tProduct Name: To Be Filled By O.E.M.
\tSerial Number:  EX4MPLE\x20

Handle 0x0000, DMI type 0, 26 bytes
BIOS Information
\tVendor: Example
\tCharacteristics:
\t\tPCI is supported
"""


def test_parse():
    system, bios = dmi.parse(TEXT)
    assert (system.type, bios.type) == (1, 0)
    assert system.fields["Manufacturer"] == "Example: the second colon"
    assert system.fields["Serial Number"] == "EX4MPLE"
    assert bios.fields == {"Vendor": "Example", "Characteristics": ""}
    assert dmi.parse("") == dmi.parse("Scanning /dev/mem for entry point.\n") == []


@pytest.mark.parametrize(("sizes", "mib"), [
    (["16 GB", "16 GB"], 32768), (["8192 MB", "No Module Installed", "Unknown"], 8192), (["1 TB"], 1 << 20),
    (["16 GiB", "512 MiB"], 16896), (["512 kB"], 0), (["1024 kB"], 1), ([], 0), (["16 GiB?"], 0),
])  # fmt: skip
def test_memory(sizes, mib):
    structures = [Structure(17, {"Size": size}) for size in sizes]
    assert dmi.memory_mib([*structures, Structure(16, {"Size": "999 GB"})]) == mib


def test_vendor_takes_sysfs_where_dmidecode_is_silent_and_drops_fillers(tmp_path):
    directory = tmp_path / "class/dmi/id"
    directory.mkdir(parents=True)
    (directory / "product_name").write_text("From sysfs\n")
    (directory / "bios_version").write_text("1.0\n")
    found = dmi.vendor(dmi.parse(TEXT), tmp_path)
    assert found["product_name"] == "From sysfs"
    assert found["manufacturer"] == "Example: the second colon"
    assert found["firmware"] == {"vendor": "Example", "version": "1.0", "build_date": ""}


@pytest.mark.parametrize("wrap", ["{}", "[{}]"])
def test_lshw_tree_old_and_new(wrap):
    text = wrap.replace("{}", '{"id": "x", "children": [{"id": "core", "children": [{"id": "memory"}]}]}')
    assert [node["id"] for node in dmi.lshw_nodes(text)] == ["x", "core", "memory"]


def test_lshw_that_is_not_json():
    assert dmi.lshw_nodes("WARNING: you should run this program as super-user.") == []


@pytest.mark.parametrize(("nodes", "mib"), [
    ([{"class": "memory", "id": "memory", "size": 4 << 30}], 4096),
    # Banks say what is plugged in; the node above repeats it, and caches are memory by class only.
    ([{"class": "memory", "id": "memory", "size": 4 << 30},
      {"class": "memory", "id": "bank:0", "size": 2 << 30},
      {"class": "memory", "id": "bank:1", "size": 2 << 30},
      {"class": "memory", "id": "cache:0", "size": 1 << 30}], 4096),
    ([{"class": "memory", "id": "bank:0"}], 0),
    ([], 0),
])  # fmt: skip
def test_lshw_memory(nodes, mib):
    assert dmi.lshw_memory_mib(nodes) == mib


def device(size, array="0x0010", **fields):
    lines = {"Array Handle": array, "Size": size, **{key.replace("_", " "): text for key, text in fields.items()}}
    return "Handle 0x0011, DMI type 17, 84 bytes\nMemory Device\n" + "".join(f"\t{k}: {v}\n" for k, v in lines.items())


@pytest.mark.parametrize(("text", "mib"), [
    (device("16 GB", Type="DDR4", Volatile_Size="16 GB", **{"Non-Volatile Size": "None"}), 16384),
    (device("32 MB", Type="Flash"), 0), (device("2 MB", Type="EEPROM"), 0), (device("2 MB", array="0x0020"), 0),
    (device("16 GB", array="0x0099", Type="RAM"), 16384),
    (device("128 GB", Type="Logical non-volatile device"), 0),
    (device("128 GB", Memory_Technology="Intel Optane DC persistent memory", Volatile_Size="None"), 0),
    (device("128 GB", Memory_Technology="Intel Optane persistent memory", Volatile_Size="96 GB"), 98304),
    (device("16 GB", Type="DDR4", Volatile_Size="None", **{"Non-Volatile Size": "16 GB"}), 0),
])  # fmt: skip
def test_what_is_memory_to_work_in(text, mib):
    arrays = "".join(
        f"Handle {handle}, DMI type 16, 23 bytes\nPhysical Memory Array\n\tUse: {use}\n\n"
        for handle, use in (("0x0010", "System Memory"), ("0x0020", "Flash Memory"))
    )
    assert dmi.memory_mib(dmi.parse(arrays + text)) == mib


def test_flash_in_lshws_tree_is_left_out_with_its_banks():
    bank = {"id": "bank", "class": "memory", "size": 32 << 20}
    flash = {"id": "memory:1", "class": "memory", "description": "Flash Memory", "size": 32 << 20, "children": [bank]}
    memory = {"id": "memory:0", "class": "memory", "description": "System Memory", "size": 1 << 30}
    nodes = dmi.lshw_nodes(json.dumps({"id": "x", "class": "system", "children": [flash, memory]}))
    assert dmi.lshw_memory_mib(nodes) == 1024
