import io
import os
import tarfile

import pytest

from agent_router.hardware import logs
from agent_router.plugin import Failed


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def test_what_fits_is_not_cut():
    archive, cut = logs.fit({"a": b"x" * 100, "b": b""}, 10000)
    assert names(archive) == ["a", "b"]
    assert cut == []


def test_only_the_largest_is_cut():
    noise = os.urandom(60000).hex().encode()
    archive, cut = logs.fit({"journal": noise, "dmesg": noise[:2000]}, 20000)
    assert len(archive) <= 20000
    assert cut == ["journal"]


def test_what_can_never_fit_is_an_error():
    with pytest.raises(Failed, match="do not fit in 10 bytes"):
        logs.fit({"a": b"x" * 5000}, 10)


def test_tail(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert logs.tail(path, 3) == b"789"
    assert logs.tail(path) == b"0123456789"


@pytest.mark.parametrize("secrets", ["not JSON", "\xff"])
def test_a_log_whose_secrets_are_not_known_is_not_shown(tmp_path, secrets):
    path = tmp_path / "secrets"
    path.write_text(secrets, encoding="latin-1")
    assert b"password" not in logs.hide(b"password", path)


def test_the_longer_of_two_secrets_is_masked_whole(tmp_path):
    path = tmp_path / "secrets"
    path.write_text('["abc", "", "abcdef"]')
    assert logs.hide(b"abcdef abc x", path) == b"*** *** x"


def test_a_collector_that_does_not_end_keeps_what_it_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "LIMIT_S", 0.2)
    files = logs._run("slow", ["/bin/sh", "-c", "echo first words; exec sleep 5"])
    assert files == {"slow": b"first words\n", "slow.error": b"did not finish within 0.2 s\n"}
    assert list(tmp_path.iterdir()) == []


def test_the_agents_token_is_in_no_file(tmp_path):
    files = {"dmesg": b"Command line: ipa-agent-token=0123456789abcdef quiet\n", "df": b"nothing\n"}
    assert logs.without_token(files, str(tmp_path)) == files
    (tmp_path / "token").write_text("0123456789abcdef")
    hidden = {"dmesg": b"Command line: ipa-agent-token=*** quiet\n", "df": b"nothing\n"}
    assert logs.without_token(files, str(tmp_path)) == hidden
    (tmp_path / "token").write_text("")
    assert logs.without_token(files, str(tmp_path)) == files
