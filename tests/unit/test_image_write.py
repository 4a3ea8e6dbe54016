import signal
from types import SimpleNamespace

import pytest

from agent_router.image import write
from agent_router.plugin import Failed

URL = "http://a/x.raw"


@pytest.mark.parametrize(("start", "name"), [
    (b"QFI\xfb", "qcow2"), (b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"<!DOCTYPE html>", "HTML"),
])  # fmt: skip
def test_refuses_other_formats(start, name):
    with pytest.raises(Failed, match=name):
        write.refuse_format(start, URL)


def test_lets_a_boot_sector_pass():
    write.refuse_format(b"\xeb\x63\x90" + bytes(13), URL)
    write.refuse_format(bytes(16), URL)


@pytest.mark.parametrize(("announced", "expected", "code"), [
    (100, 100, None), (None, 100, None), (100, None, None), (100, 99, "wrong_size"),
    (101, None, "too_large"), (None, 101, "too_large"), (None, None, None),
])  # fmt: skip
def test_check_size_on_a_disk_of_100_bytes(monkeypatch, announced, expected, code):
    warned = []
    monkeypatch.setattr(write.plugin, "warn", warned.append)
    source = SimpleNamespace(size=announced, url=URL, digest_known=False)
    target = SimpleNamespace(size=100, device="/dev/x")
    if code is None:
        write.check_size(source, target, expected)
    else:
        with pytest.raises(Failed) as failed:
            write.check_size(source, target, expected)
        assert failed.value.code == code
    assert bool(warned) == (announced is None and expected is None)


@pytest.mark.parametrize(("offset", "digest", "expected", "size", "code"), [
    (5, "a", "a", 5, None), (5, "a", "", None, None), (4, "a", "a", 5, "wrong_size"),
    (5, "b", "a", 5, "digest_mismatch"),
])  # fmt: skip
def test_check_result(offset, digest, expected, size, code):
    source = SimpleNamespace(offset=offset, url=URL)
    if code is None:
        write.check_result(source, digest, expected, size)
    else:
        with pytest.raises(Failed) as failed:
            write.check_result(source, digest, expected, size)
        assert failed.value.code == code


def test_a_disk_that_cannot_be_wiped_is_said_so():
    def broken():
        raise OSError(5, "Input/output error")

    source = SimpleNamespace(offset=7, url=URL)
    target = SimpleNamespace(device="/dev/x", written=7, abandon=broken)
    error = write._abandon(source, target, write.Stopped(), begun=True)
    assert "could not be wiped (Input/output error)" in str(error.message)


def test_a_disk_whose_ends_cannot_be_written_is_wiped(monkeypatch):
    def full():
        raise OSError(5, "Input/output error")

    wiped = []
    monkeypatch.setattr(
        write, "pump", lambda source, write, first, **more: first(memoryview(bytes(16))) or "digest"
    )
    source = SimpleNamespace(size=16, offset=16, url=URL, digest_known=True, open=lambda: None)
    target = SimpleNamespace(
        size=100, device="/dev/x", written=16, write=None, begin=lambda: None, finish=full,
        abandon=lambda: wiped.append(True),
    )  # fmt: skip
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Failed, match="first and last MiB are wiped") as failed:
            write.stream(source, target, "digest", None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert failed.value.code == "write_failed"
    assert wiped == [True]


def test_a_second_sigterm_does_not_disturb_the_cleaning_up():
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(write.Stopped):
            write._stop(signal.SIGTERM, None)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
