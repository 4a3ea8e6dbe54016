import pytest

from agent_router.deploy.boot_entries import BootEntry, csv_entry, csv_files, labels, loader_entries, same_label

CSV = "shimx64.efi,debian,,This is the boot entry for debian\n"
# efibootmgr 17 -v and 18 print the path after a tab, older ones after blanks, 17 without -v no path.
PRINTED = """BootCurrent: 0003
Timeout: 0 seconds
BootOrder: 0003,0001,000A
Boot0001* debian\tHD(1,GPT,0123)/File(\\EFI\\debian\\shimx64.efi)
Boot000A  debian  HD(1,GPT,0123)/File(\\EFI\\debian\\shimx64.efi)
Boot0003* UEFI PXE (IPv4)\tPciRoot(0x0)/Pci(0x2,0x0)/MAC(525400)
Boot0004* ironic1
Boot0005* debian old\tVenHw(99e275e7)
"""


def test_a_csv_file_decides():
    files = ["EFI/BOOT/BOOTX64.EFI", "EFI/debian/BOOT.CSV", "EFI/debian/BOOTX64.CSV", "EFI/debian/shimx64.efi"]
    assert csv_files(files) == ["EFI/debian/BOOTX64.CSV", "EFI/debian/BOOT.CSV"]
    assert csv_files(files[:1]) == []
    assert csv_files(["EFI/x/bootia32.csv"]) == [], "32 bits are nobody's wish"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_what_a_csv_file_says(encoding):
    for loader in ("shimx64.efi", "SHIMX64.EFI"):
        entry = csv_entry("EFI/debian/BOOTX64.CSV", CSV.encode(encoding), [f"EFI/debian/{loader}"])
        assert entry == BootEntry("debian", f"\\EFI\\debian\\{loader}")


def test_the_first_line_whose_loader_is_there_counts():
    text = "shimx64.efi,old,,\ngrubx64.efi,new,,\nfbx64.efi,newer,,\n"
    files = ["EFI/acme/grubx64.efi", "EFI/acme/fbx64.efi", "EFI/BOOT/shimx64.efi"]
    entry = csv_entry("EFI/acme/BOOTX64.CSV", text.encode("utf-16"), files)
    assert entry == BootEntry("new", "\\EFI\\acme\\grubx64.efi")
    assert csv_entry("EFI/acme/BOOTX64.CSV", text.encode("utf-16"), []) is None


@pytest.mark.parametrize("text", ["", "shimx64.efi", ",label,,", "x.efi,,"])
def test_a_csv_file_that_says_nothing(text):
    assert csv_entry("EFI/x/BOOT.CSV", text.encode("utf-16-le"), ["EFI/x/shimx64.efi", "EFI/x/x.efi"]) is None


def test_every_known_loader_gets_an_entry():
    files = ["EFI/BOOT/BOOTIA32.EFI", "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/fbx64.efi", "EFI/debian/grubx64.efi",
             "EFI/Microsoft/winload.efi"]  # fmt: skip
    assert loader_entries(files) == [
        BootEntry("ironic1", "\\EFI\\BOOT\\BOOTX64.EFI"),
        BootEntry("ironic2", "\\EFI\\BOOT\\BOOTIA32.EFI"),
        BootEntry("ironic3", "\\EFI\\Microsoft\\winload.efi"),
    ]
    assert loader_entries(["readme.txt"]) == []


def test_labels_are_found_in_every_form():
    assert labels(PRINTED) == [
        ("0001", "debian"),
        ("000A", "debian"),
        ("0003", "UEFI PXE (IPv4)"),
        ("0004", "ironic1"),
        ("0005", "debian old"),
    ]
    assert same_label(PRINTED, "debian") == ["0001", "000A"]
    assert same_label(PRINTED, "deb") == []
