import json
import subprocess

import pytest

from agent_router.deploy import boot_entries
from agent_router.plugin import Failed
from tests.support.disks import gpt_image, msdos_image, remembering
from tests.support.plugin import problems

COMMAND = "image.install_bootloader"
ESP_START = 1 << 20
CSV = "shimx64.efi,debian,,text\n".encode("utf-16")
PRINTED = "BootOrder: 0001\nBoot0001* debian\tHD(1)/File(x)\nBoot0002* ironic1\tHD(1)/File(x)\nBoot0003* PXE\tMAC(1)\n"


@pytest.fixture
def uefi(call, fake_tool, monkeypatch, tmp_path):
    """A machine booted by UEFI; gives efibootmgr's calls."""
    (tmp_path / "sys/firmware/efi").mkdir(parents=True)
    monkeypatch.setattr(boot_entries, "SYS", tmp_path / "sys")
    tool = fake_tool("efibootmgr", stdout=PRINTED)
    monkeypatch.setenv("PATH", call.path)
    return tool


@pytest.fixture
def disk(tmp_path):
    """make(path=content, …): the file of a disk with an EFI system partition that has these files."""

    def make(table="gpt", **files):
        path = tmp_path / "disk"
        if table == "gpt":
            gpt_image(path, 48, "start=2048, size=40MiB, type=uefi")
        else:
            msdos_image(path, 48, "start=2048, size=40MiB, type=ef")
        place = f"{path}@@{ESP_START}"
        size = 40 * 2048
        subprocess.run(["mformat", "-i", place, "-T", str(size), "-h", "64", "-s", "32", "::"], check=True)
        directories = ["EFI", "EFI/BOOT", "EFI/debian"]
        subprocess.run(["mmd", "-i", place, *(f"::/{name}" for name in directories)], check=True)
        for name, data in files.items():
            (tmp_path / "content").write_bytes(data)
            subprocess.run(["mcopy", "-i", place, str(tmp_path / "content"), f"::/{name}"], check=True)
        return str(path)

    return make


def created(tool):
    return [call for call in tool.calls if "--create" in call]


def run(**request):
    # The disk is a file here, so that no loop device is needed to read it.
    assert not problems(COMMAND, "request", request | ({"device": "/dev/sda"} if "device" in request else {}))
    answer = boot_entries.install_bootloader(request)
    assert not problems(COMMAND, "response", answer)
    return answer


def test_schema_accepts_what_ironic_sends():
    request = {"root_uuid": None, "efi_system_part_uuid": None, "prep_boot_part_uuid": None, "target_boot_mode": "uefi"}
    assert not problems(COMMAND, "request", request)
    assert problems(COMMAND, "request", {"target_boot_mode": "UEFI"})


def test_on_bios_there_is_nothing_to_do(call):
    assert call(COMMAND, root_uuid="0x3f2a91c4") == {"boot_mode": "bios", "entries": []}
    assert call.warnings == []
    call(COMMAND, target_boot_mode="uefi")
    assert call.warnings == ["The machine was booted in bios mode, but shall boot in uefi mode"]


def test_the_csv_file_of_the_shim_decides_path_and_label(uefi, disk):
    device = disk(**{"EFI/BOOT/BOOTX64.EFI": b"x", "EFI/debian/BOOTX64.CSV": CSV, "EFI/debian/shimx64.efi": b"x"})
    loader = "\\EFI\\debian\\shimx64.efi"
    assert run(device=device)["entries"] == [{"label": "debian", "loader": loader}]
    assert uefi.calls == [
        [""], ["--bootnum", "0001", "--delete-bootnum"],
        ["--create", "--disk", device, "--part", "1", "--label", "debian", "--loader", loader],
    ]  # fmt: skip


def test_loaders_without_a_csv_file(uefi, disk):
    device = disk(**{"EFI/BOOT/BOOTX64.EFI": b"x", "EFI/BOOT/BOOTIA32.EFI": b"x", "EFI/debian/grubx64.efi": b"x"})
    entries = run(device=device, target_boot_mode="uefi")["entries"]
    assert [entry["loader"] for entry in entries] == ["\\EFI\\BOOT\\BOOTX64.EFI", "\\EFI\\BOOT\\BOOTIA32.EFI"]
    # The firmware puts the newest entry first: the 64-bit loader is made last, so it boots.
    assert [call[-1] for call in created(uefi)] == ["\\EFI\\BOOT\\BOOTIA32.EFI", "\\EFI\\BOOT\\BOOTX64.EFI"]
    assert ["--bootnum", "0002", "--delete-bootnum"] in uefi.calls


def test_the_disk_that_was_deployed_is_meant(uefi, disk, call, monkeypatch, tmp_path):
    device = disk("dos", **{"EFI/BOOT/BOOTX64.EFI": b"x"})
    place = remembering(call, tmp_path / "state")
    monkeypatch.setenv("AGENT_STATE_DIR", str(tmp_path / "state"))
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"device": device, "root_uuid": "0x00000001"}))
    assert run()["boot_mode"] == "uefi"
    assert "--write-signature" in created(uefi)[0], "an msdos table needs a signature"
    assert created(uefi)[0][2] == device


def test_without_a_deployment_the_disk_is_not_known(uefi, monkeypatch):
    monkeypatch.delenv("AGENT_STATE_DIR", raising=False)
    with pytest.raises(Failed, match="name it as device") as failed:
        run()
    assert failed.value.code == "no_deployment"


def test_an_image_that_is_not_for_uefi(uefi, disk, tmp_path):
    gpt_image(tmp_path / "plain", 8)
    with pytest.raises(Failed, match="has no EFI system partition") as failed:
        run(device=str(tmp_path / "plain"))
    assert failed.value.code == "no_esp"
    (tmp_path / "empty").write_bytes(bytes(1 << 20))
    with pytest.raises(Failed, match="has no EFI system partition"):
        run(device=str(tmp_path / "empty"))


def test_an_esp_without_a_loader(uefi, disk):
    device = disk(**{"EFI/debian/notes.txt": b"x"})
    with pytest.raises(Failed, match="notes") as failed:
        run(device=device)
    assert failed.value.code == "no_boot_loader"
    assert created(uefi) == []
    assert run(device=device, ignore_bootloader_failure=True)["entries"] == []


def test_a_csv_file_that_says_nothing_is_passed_over(uefi, disk):
    device = disk(**{"EFI/debian/BOOTX64.CSV": b"", "EFI/BOOT/BOOTX64.EFI": b"x"})
    assert run(device=device)["entries"] == [{"label": "ironic1", "loader": "\\EFI\\BOOT\\BOOTX64.EFI"}]
