import os

import pytest

from agent_router.plugin.files import replace_file


@pytest.mark.parametrize("content", ["new é", b"new"])
def test_the_content_is_replaced_and_nothing_is_left_beside_it(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text("a longer old content")
    replace_file(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(tmp_path) == ["state.json"]


def test_who_may_read_it(tmp_path):
    replace_file(tmp_path / "secret", "x", 0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_reader_has_the_old_file_to_its_end(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with path.open() as reader:
        replace_file(path, "new")
        assert reader.read() == "old"
