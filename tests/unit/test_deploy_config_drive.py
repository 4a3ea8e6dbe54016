import base64
import gzip
import random

import pytest

from agent_router import plugin
from agent_router.deploy import config_drive

# Looks like an ext file system; the same in every test process.
DATA = random.Random(1).randbytes(1080) + b"\x53\xef" + random.Random(2).randbytes(438)
TEXT = base64.b64encode(gzip.compress(DATA, mtime=0)).decode()


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 64, 1 << 20])
@pytest.mark.parametrize("text", [TEXT, f" {TEXT}\n", "\n".join(TEXT[at : at + 7] for at in range(0, len(TEXT), 7))])
def test_pieces_of_any_size(monkeypatch, text, piece):
    monkeypatch.setattr(config_drive, "PIECE", piece)
    assert config_drive.content(text) == DATA


def test_base64_of_the_file_system_itself():
    assert config_drive.content(base64.b64encode(DATA).decode()) == DATA


@pytest.mark.parametrize(("data", "name"), [
    (bytes(0x8001) + b"CD001", "ISO 9660"), (bytes(1080) + b"\x53\xef", "ext"),
    (b"\xeb\x3c\x90mkfs.fat\0\x02\4" + bytes(496) + b"\x55\xaa", "FAT"),
    (b"\xeb\x3c\x90mkfs.fat\0\x02\3" + bytes(496) + b"\x55\xaa", None), (b"", None), (bytes(1 << 20), None),
])  # fmt: skip
def test_file_systems_that_a_config_drive_may_be(data, name):
    assert config_drive.file_system(data) == name


@pytest.mark.parametrize("piece", [1, 3, 64, 1 << 20])
@pytest.mark.parametrize("text", [
    "", "!", TEXT[:-1], TEXT[:40], TEXT[:80] + "=" + TEXT[81:], TEXT + "QQ==QQ==", TEXT[:-8], "\u00e4" * 8, "QUJD",
])  # fmt: skip
def test_what_is_no_config_drive(monkeypatch, text, piece):
    monkeypatch.setattr(config_drive, "PIECE", piece)
    with pytest.raises(plugin.Failed) as failed:
        config_drive.content(text)
    assert failed.value.code == "bad_config_drive"


def test_no_more_than_the_limit_is_unpacked(monkeypatch):
    for limit, good in ((len(DATA), True), (len(DATA) - 1, False)):
        monkeypatch.setattr(config_drive, "LARGEST", limit)
        if good:
            assert config_drive.content(TEXT) == DATA
        else:
            with pytest.raises(plugin.Failed, match="larger than 64 MiB"):
                config_drive.content(TEXT)
