import base64
import gzip
import random

import pytest

from agent_router import plugin
from agent_router.deploy import config_drive

DATA = random.Random(1).randbytes(1000)  # the same in every test process
TEXT = base64.b64encode(gzip.compress(DATA, mtime=0)).decode()


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 64, 1 << 20])
@pytest.mark.parametrize("text", [TEXT, f" {TEXT}\n", "\n".join(TEXT[at : at + 7] for at in range(0, len(TEXT), 7))])
def test_pieces_of_any_size(monkeypatch, text, piece):
    monkeypatch.setattr(config_drive, "PIECE", piece)
    assert config_drive.decode(text) == DATA


@pytest.mark.parametrize("piece", [1, 3, 64, 1 << 20])
@pytest.mark.parametrize("text", [
    "", "!", TEXT[:-1], TEXT[:40], TEXT[:80] + "=" + TEXT[81:], TEXT + "QQ==QQ==", TEXT[:-8], "\u00e4" * 8, "QUJD",
])  # fmt: skip
def test_what_is_no_config_drive(monkeypatch, text, piece):
    monkeypatch.setattr(config_drive, "PIECE", piece)
    with pytest.raises(plugin.Failed) as failed:
        config_drive.decode(text)
    assert failed.value.code == "bad_config_drive"


def test_no_more_than_the_limit_is_unpacked(monkeypatch):
    for limit, good in ((1000, True), (999, False)):
        monkeypatch.setattr(config_drive, "LARGEST", limit)
        if good:
            assert config_drive.decode(TEXT) == DATA
        else:
            with pytest.raises(plugin.Failed, match="larger than 64 MiB"):
                config_drive.decode(TEXT)
