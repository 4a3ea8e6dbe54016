"""tools/venv.sh says in one sentence why there is no environment, and finishes one that was begun."""

import subprocess
from pathlib import Path

import pytest

VENV_SH = Path(__file__).parents[2] / "tools/venv.sh"


def venv(directory, *wanted, prefix=()):
    return subprocess.run([*prefix, VENV_SH, directory, *wanted], capture_output=True, text=True)


def begun(directory, pip):
    """An environment whose installation was interrupted; `pip` is what its Python does now."""
    (directory / "bin").mkdir(parents=True)
    for name in ("python", "pip"):
        (directory / "bin" / name).write_text(f"#!/bin/sh\n{pip}\n")
        (directory / "bin" / name).chmod(0o755)


def test_without_a_package_index_pip_is_named_and_nothing_counts_as_done(tmp_path):
    begun(tmp_path / "venv", "echo 'no answer from the index' >&2; exit 1")
    done = venv(tmp_path / "venv", "flask")
    assert done.returncode == 1
    reason, sentence = done.stderr.splitlines()
    assert reason == "no answer from the index"
    assert sentence.startswith(f"pip could not install the packages for {tmp_path}/venv for the reason above; ")
    assert not (tmp_path / "venv/.installed").exists()


def test_one_that_was_begun_is_finished(tmp_path):
    begun(tmp_path / "venv", 'echo "$@" >>asked')
    assert subprocess.run([VENV_SH, "venv", "flask"], cwd=tmp_path).returncode == 0
    assert (tmp_path / "asked").read_text().split()[-1] == "flask"
    assert (tmp_path / "venv/.installed").exists()


@pytest.mark.root
def test_a_checkout_that_cannot_be_written_to_is_named(tmp_path):
    place = tmp_path / "checkout"
    place.mkdir()
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    done = venv(place / "venv", "x", prefix=("unshare", "--mount", "sh", "-ec", script, "sh", str(place)))
    assert done.returncode == 1
    assert done.stderr == f"{place} is not writable: clone the project to a directory where you can write\n"
