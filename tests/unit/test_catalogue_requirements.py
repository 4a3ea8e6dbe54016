import os

import pytest

from agent_router.catalogue import requirements as hardware

NIC = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A made-up machine: one network card, a vendor, some kernel modules."""
    device = tmp_path / "sys/bus/pci/devices/0000:00:02.0"
    dmi = tmp_path / "sys/class/dmi/id"
    index = tmp_path / "modules" / os.uname().release
    for directory in (device, dmi, index, tmp_path / "sys/module/loaded_one"):
        directory.mkdir(parents=True)
    (device / "modalias").write_text(f"{NIC}\n")
    (device.parent / "odd").mkdir()
    (device.parent / "odd/modalias").write_bytes(b"\xff\n")
    (dmi / "sys_vendor").write_text("Acme Corp.\n")
    (dmi / "product_name").write_text("Box 9\n")
    (index / "modules.dep").write_text("kernel/drivers/md/raid-one.ko.xz: kernel/lib/x.ko\nkernel/fs/ext9.ko:\n")
    (index / "modules.builtin").write_text("kernel/drivers/block/loop.ko\n")
    monkeypatch.setattr(hardware, "SYS", tmp_path / "sys")
    monkeypatch.setattr(hardware, "MODULES", tmp_path / "modules")
    caches = (hardware.modaliases, hardware.dmi, hardware._loadable)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("match", [
    [],
    [{"modalias": NIC}],
    [{"modalias": "pci:v00008086d*"}],
    [{"modalias": "pci:*bc02*"}],
    [{"dmi": {"sys_vendor": "Acme*"}}],
    [{"dmi": {"sys_vendor": "Acme*", "product_name": "Box ?"}}],
    [{"modalias": "pci:v00008086d*", "dmi": {"sys_vendor": "Acme*"}}],
    [{"modalias": "usb:*"}, {"dmi": {"sys_vendor": "Acme Corp."}}],
    [{"dmi": {"no_such_file": "*"}}],
])  # fmt: skip
def test_one_entry_that_fits_is_enough(machine, match):
    assert hardware.unmatched(match) == ""


@pytest.mark.parametrize(("match", "reason"), [
    ([{"modalias": "pci:v00001000d*"}], "this machine has none of: pci:v00001000d*"),
    ([{"modalias": "PCI:v00008086d*"}], "this machine has none of: PCI:v00008086d*"),
    ([{"dmi": {"sys_vendor": "acme*"}}], "this machine has none of: sys_vendor=acme*"),
    ([{"dmi": {"sys_vendor": "Acme"}}], "this machine has none of: sys_vendor=Acme"),
    ([{"modalias": NIC, "dmi": {"sys_vendor": "Other"}}], f"this machine has none of: {NIC} and sys_vendor=Other"),
    ([{"modalias": "a"}, {"modalias": "b"}], "this machine has none of: a, b"),
    ([{"dmi": {"../../../../bus/pci/devices/odd/modalias": "*x"}}], ("this machine has none of: "
     "../../../../bus/pci/devices/odd/modalias=*x")),
])  # fmt: skip
def test_what_does_not_fit_is_named(machine, match, reason):
    assert hardware.unmatched(match) == reason


@pytest.mark.parametrize(("needs", "reason"), [
    ({}, ""),
    ({"commands": ["tool"]}, ""),
    ({"commands": ["tool", "other"]}, "the command other is not installed"),
    ({"commands": ["notes"]}, "the command notes is not installed"),
    ({"modules": ["loaded_one", "loaded-one", "raid_one", "raid-one", "ext9", "loop"]}, ""),
    ({"modules": ["loop", "x"]}, "the kernel module x is neither loaded nor available"),
    ({"commands": ["tool"], "modules": ["gone"]}, "the kernel module gone is neither loaded nor available"),
])  # fmt: skip
def test_needs(machine, needs, reason):
    (machine / "bin").mkdir()
    (machine / "bin/tool").touch(mode=0o755)
    (machine / "bin/notes").touch(mode=0o644)
    assert hardware.missing(needs, str(machine / "bin")) == reason


def test_a_machine_without_sysfs(machine, monkeypatch):
    monkeypatch.setattr(hardware, "SYS", machine / "gone")
    monkeypatch.setattr(hardware, "MODULES", machine / "gone")
    assert hardware.unmatched([{"modalias": "*"}]) == "this machine has none of: *"
    assert hardware.missing({"modules": ["loop"]}, "") == "the kernel module loop is neither loaded nor available"
