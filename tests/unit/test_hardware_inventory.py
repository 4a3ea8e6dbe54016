import pytest

from agent_router.hardware import inventory


@pytest.mark.parametrize(("cmdline", "expected"), [
    ("nofb BOOTIF=01-aa-bb-cc-dd-ee-ff x=1\n", "01-aa-bb-cc-dd-ee-ff"),
    ("BOOTIF=aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:ff"),
    ("XBOOTIF=no quiet", None),
    ("", None),
])  # fmt: skip
def test_pxe_interface(tmp_path, cmdline, expected):
    (tmp_path / "cmdline").write_text(cmdline)
    assert inventory.boot(tmp_path, tmp_path) == {"current_boot_mode": "bios", "pxe_interface": expected}


def test_uefi(tmp_path):
    (tmp_path / "firmware/efi").mkdir(parents=True)
    assert inventory.boot(tmp_path, tmp_path)["current_boot_mode"] == "uefi"
