import os

import pytest

from agent_router.plugin import Failed
from agent_router.storage import erase


@pytest.mark.parametrize(("method", "kind", "discards", "stages"), [
    ("auto", "nvme-crypto", True, ["secure"]),
    ("auto", None, True, ["discard", "zero"]),
    ("auto", None, False, ["zero"]),
    ("zero", "ata", True, ["zero"]),
    ("discard", "ata", True, ["discard"]),
    ("secure", "ata", False, ["secure"]),
])  # fmt: skip
def test_choose(method, kind, discards, stages):
    assert erase.choose(method, secure_kind=kind, secure_reason="why", discards=discards) == stages


@pytest.mark.parametrize(
    ("method", "reason"), [("secure", "frozen; use method"), ("discard", "does not support discard")]
)
def test_choose_says_why_not(method, reason):
    with pytest.raises(Failed, match=reason) as failed:
        erase.choose(method, secure_kind=None, secure_reason="frozen", discards=False)
    assert failed.value.code == "unsupported"


@pytest.mark.parametrize("size", [512, erase.SAMPLE, erase.SAMPLE + 512, 10**9])
def test_samples_lie_on_the_disk_and_reach_its_ends(size):
    offsets = erase.sample_offsets(size)
    assert offsets[0] == 0
    assert offsets[-1] + erase.SAMPLE >= size
    assert all(0 <= offset < size for offset in offsets)


@pytest.mark.parametrize("where", [0, 3 << 20, (8 << 20) - 1])
def test_a_disk_that_keeps_its_data_is_detected(tmp_path, where):
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 << 20))
    fd = os.open(path, os.O_RDWR)
    erase._verify(fd, "/dev/x", 8 << 20)
    # A disk that kept one block may be missed; one that kept the tail, the head or most of it is not.
    os.pwrite(fd, b"\xff" * (8 << 20), 0) if where == 3 << 20 else os.pwrite(fd, b"\xff", where)
    with pytest.raises(Failed, match="data other than zeros at byte"):
        erase._verify(fd, "/dev/x", 8 << 20)
    os.close(fd)


def test_auto_falls_back_to_zeros_when_the_disk_fails_to_erase_itself(monkeypatch):
    swept, warned = [], []

    def fail(*args):
        raise Failed("tool_failed", "nvme ended with 1")

    monkeypatch.setattr(erase, "_checked", lambda device: "x")
    monkeypatch.setattr(erase, "_decide", lambda request, name: (["secure"], "nvme-crypto"))
    monkeypatch.setattr(erase, "_choose", lambda *args: ["discard", "zero"])
    monkeypatch.setattr(erase.blockdev, "size_bytes", lambda name: 4096)
    monkeypatch.setattr(erase.blockdev, "open_exclusive", lambda device: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(erase.secure_erase, "run", fail)
    monkeypatch.setattr(erase, "_sweep", lambda device, stage, size, passes: swept.append(stage))
    monkeypatch.setattr(erase.plugin, "warn", warned.append)
    assert erase.erase({"device": "/dev/x"})["stages"] == swept == ["discard", "zero"]
    assert "nvme ended with 1" in warned[0]
    with pytest.raises(Failed, match="nvme ended"):
        erase.erase({"device": "/dev/x", "method": "secure"})
