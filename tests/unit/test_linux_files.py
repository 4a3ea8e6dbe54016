import os

import pytest

from agent_router.linux import files


@pytest.mark.parametrize("content", ["new é", b"new"])
def test_the_content_is_replaced_and_nothing_is_left_beside_it(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text("a longer old content")
    files.replace(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(tmp_path) == ["state.json"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode(tmp_path, mode):
    files.replace(tmp_path / "file", "x", mode)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_reader_has_the_old_file_to_its_end(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with path.open() as reader:
        files.replace(path, "new")
        assert reader.read() == "old"
