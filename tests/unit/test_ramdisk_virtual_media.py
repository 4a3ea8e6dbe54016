import os
import subprocess

import pytest

from agent_router.ramdisk import virtual_media

GIB = 1 << 30
FLOPPY = {"path": "/dev/sdb", "type": "disk", "tran": "usb", "size": 1474560, "label": "ir-vfd-dev", "model": "Floppy"}
CD = {"path": "/dev/sr0", "type": "rom", "tran": "usb", "size": 150 << 20, "label": "config-2", "model": "Virtual CD"}
PARTITIONED = {**FLOPPY, "label": None, "children": [{"path": "/dev/sdb1", "label": "ir-vfd-dev"}]}
DISK = {"path": "/dev/sda", "type": "disk", "tran": "sata", "size": 500 * GIB, "label": None, "model": "Disk"}


@pytest.mark.parametrize(
    ("devices", "labels", "expected"),
    [
        ([DISK, FLOPPY, CD], ("ir-vfd-dev",), ["/dev/sdb"]),
        ([DISK, FLOPPY, CD], ("config-2", "vmedia_boot_iso"), ["/dev/sr0"]),
        ([{**FLOPPY, "label": "IR-VFD-DEV"}], ("ir-vfd-dev",), ["/dev/sdb"]),
        ([PARTITIONED], ("ir-vfd-dev",), ["/dev/sdb1"]),
        # A tenant's disk under that label is not believed.
        ([{**DISK, "label": "ir-vfd-dev"}], ("ir-vfd-dev",), []),
        ([{**FLOPPY, "size": 4 * GIB}], ("ir-vfd-dev",), []),
        ([{**FLOPPY, "size": None}], ("ir-vfd-dev",), []),
        ([], ("config-2",), []),
    ],
)  # fmt: skip
def test_only_media_count(devices, labels, expected):
    assert virtual_media.chosen(devices, labels) == expected


def test_some_bmcs_are_known_by_their_model_only():
    assert virtual_media.by_model([DISK, {**FLOPPY, "label": None, "model": "Virtual Media"}]) == ["/dev/sdb"]
    assert virtual_media.by_model([{**DISK, "model": "Virtual Media"}]) == []


def test_the_words_of_the_file(tmp_path):
    path = tmp_path / "parameters.txt"
    path.write_bytes(b"ipa-api-url=http://[fd00::1]:6385/?a=b\n ipa-debug=1\tquiet\n\xff=1")
    found = virtual_media.in_file(path)
    assert found == {"ipa-api-url": "http://[fd00::1]:6385/?a=b", "ipa-debug": "1", "quiet": "", "�": "1"}
    assert virtual_media.in_file(tmp_path / "none") == {}


def test_nothing_is_looked_for_after_another_boot(monkeypatch):
    monkeypatch.setattr(virtual_media, "_devices", lambda: pytest.fail("looked at the devices"))
    assert virtual_media.parameters({"ipa-api-url": "x"}) == {"ipa-api-url": "x"}


def test_the_floppy_wins_over_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setattr(virtual_media, "_devices", lambda: [DISK, FLOPPY, CD])
    floppy, cd = tmp_path / "floppy", tmp_path / "cd"
    floppy.mkdir()
    (floppy / "parameters.txt").write_text("ipa-api-url=http://new ipa-agent-token=abc")
    (cd / "etc/ironic-python-agent").mkdir(parents=True)
    (cd / "etc/ironic-python-agent/ironic.crt").write_text("PEM")
    places = {"/dev/sdb": floppy, "/dev/sr0": cd}
    monkeypatch.setattr(virtual_media, "_read", lambda device, use: use(places[device]))
    given = {"boot_method": "vmedia", "ipa-api-url": "http://old", "quiet": ""}
    found = virtual_media.parameters(given, tmp_path / "etc")
    assert found == {**given, "ipa-api-url": "http://new", "ipa-agent-token": "abc"}
    assert (tmp_path / "etc/ironic-python-agent/ironic.crt").read_text() == "PEM"


def test_a_floppy_that_comes_late_is_waited_for(monkeypatch):
    answers = [[], [], [FLOPPY]]
    monkeypatch.setattr(virtual_media, "_devices", lambda: answers.pop(0))
    monkeypatch.setattr(virtual_media, "INTERVAL_S", 0.001)
    monkeypatch.setattr(virtual_media, "_read", lambda device, use: None)
    virtual_media.parameters({"boot_method": "vmedia"})
    assert answers == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_real_medium_is_read_and_let_go(tmp_path):
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    (tree / "parameters.txt").write_text("a=b")
    image.write_bytes(b"\0" * (4 << 20))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image], check=True)
    found = {}
    virtual_media._read(str(image), lambda place: found.update(virtual_media.in_file(place / "parameters.txt")))
    assert found == {"a": "b"}
    assert str(image) not in subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout


def test_a_medium_that_cannot_be_mounted_is_named(tmp_path, capfd):
    virtual_media._read(str(tmp_path / "none"), lambda place: pytest.fail("used"))
    assert f"cannot read {tmp_path}/none: " in capfd.readouterr().out
