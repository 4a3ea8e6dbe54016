from agent_router.linux import files


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file"
    files.replace(path, "first")
    with path.open() as old:
        files.replace(path, "second")
        assert (old.read(), path.read_text()) == ("first", "second")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
