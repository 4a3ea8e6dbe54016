import pytest

from agent_router.hardware import pci


@pytest.fixture
def warnings(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(pci.plugin, "warn", said.append)
    return said


def device(sys, address, **files):
    directory = sys / "bus/pci/devices" / address
    directory.mkdir(parents=True)
    given = {"vendor": "0x8086", "device": "0x1572", "class": "0x020000", "revision": "0x02", "numa_node": "0"}
    for name, text in {**given, **files}.items():
        if text is not None:
            (directory / name).write_text(text + "\n")


def test_numbers_are_digits_without_0x(tmp_path, warnings):
    device(tmp_path, "0000:3b:00.0")
    assert pci.devices(tmp_path) == [
        {
            "vendor_id": "8086",
            "product_id": "1572",
            "bus": "0000:3b:00.0",
            "class": "020000",
            "revision": "02",
            "numa_node_id": "0",
        }
    ]
    assert warnings == []


@pytest.mark.parametrize(("files", "key", "value"), [
    ({"revision": None}, "revision", None), ({"revision": "?"}, "revision", None),
    ({"numa_node": None}, "numa_node_id", None), ({"numa_node": "-1"}, "numa_node_id", "-1"),
])  # fmt: skip
def test_what_is_not_known_is_null(tmp_path, files, key, value):
    device(tmp_path, "0000:00:00.0", **files)
    assert pci.devices(tmp_path)[0][key] == value


@pytest.mark.parametrize("files", [{"vendor": None}, {"device": "1572"}, {"class": "0xno"}, {"vendor": ""}])
def test_an_unidentified_device_causes_a_warning(tmp_path, warnings, files):
    device(tmp_path, "0000:00:00.0", **files)
    device(tmp_path, "0000:00:01.0")
    assert [found["bus"] for found in pci.devices(tmp_path)] == ["0000:00:01.0"]
    assert warnings == ["PCI device 0000:00:00.0 is skipped: vendor, product or class is missing"]


def test_200_devices_come_in_the_order_of_their_addresses(tmp_path):
    addresses = [f"0000:{bus:02x}:{slot:02x}.0" for bus in range(20) for slot in range(10)]
    for address in reversed(addresses):
        device(tmp_path, address)
    assert [found["bus"] for found in pci.devices(tmp_path)] == addresses


def test_a_machine_without_pci(tmp_path):
    assert pci.devices(tmp_path) == []
