import os

import pytest

from agent_router.runner import files
from agent_router.runner.written import Written


@pytest.fixture
def log(tmp_path):
    return Written(str(tmp_path), "log", os.open(tmp_path / "log", files.OPEN, 0o600), 100)


def test_what_was_written_before_it_was_emptied_stays(tmp_path, log):
    os.write(log.fd, b"one\n")
    for text in ("two\n", "three\n"):
        log.before_emptied()
        (tmp_path / "log.raw").write_text(text)  # as a shell does it, with O_TRUNC
        assert not log.is_over()
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree\n"
    assert log.close() == b"one\ntwo\nthree\n"
    assert not log.lost
    assert os.listdir(tmp_path) == ["log"]


def test_a_new_runner_goes_on_where_the_old_one_was(tmp_path, log):
    os.write(log.fd, b"one\n")
    log.before_emptied()
    os.write(log.fd, b"two\n")
    log.is_over()
    os.write(log.fd, b"three\n")
    again = Written(str(tmp_path), "log", os.open(tmp_path / "log", files.OPEN), 100)
    assert again.close() == b"one\ntwo\nthree\n"


def test_both_files_together_have_the_limit(log):
    os.write(log.fd, b"x" * 60)
    log.before_emptied()
    assert not log.is_over()
    os.write(log.fd, b"y" * 60)
    assert log.is_over()
    assert log.close() == b"x" * 60 + b"y" * 40


def test_a_loss_that_nobody_announced_is_noticed(tmp_path, log):
    os.write(log.fd, b"one, two\n")
    log.is_over()
    (tmp_path / "log").write_text("three\n")
    log.is_over()
    assert log.lost
