import os

import pytest

from agent_router.catalogue import notices
from agent_router.config.settings import Settings


@pytest.fixture
def write(tmp_path):
    return lambda name, text: (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)


def read(directory):
    return [(notice["source"], notice["message"]) for notice in notices.read(str(directory))]


def test_no_directory_and_an_empty_one(tmp_path):
    assert read(tmp_path / "none") == read(tmp_path) == notices.read("") == []


def test_one_sentence_a_line_files_in_order(tmp_path, write):
    write("b.txt", "second\n")
    write("a", "first line\n\n  third line  \r\nlast")
    write(".hidden", "half written")
    assert read(tmp_path) == [("a", "first line"), ("a", "third line"), ("a", "last"), ("b.txt", "second")]


def test_each_look_sees_what_is_there_now(tmp_path, write):
    write("a", "one")
    assert read(tmp_path) == [("a", "one")]
    with open(tmp_path / "a", "a") as file:
        file.write("\ntwo")
    assert read(tmp_path) == [("a", "one"), ("a", "two")]
    (tmp_path / "a").unlink()
    assert read(tmp_path) == []


def test_what_is_not_utf8(tmp_path, write):
    write("a", b"f\xfcr cannot be copied\n")
    assert read(tmp_path) == [
        ("a", "f\ufffdr cannot be copied"),
        ("a", "This notice is not UTF-8; what could not be read is shown as \ufffd"),
    ]


def test_an_undecodable_name_and_commands_to_a_terminal(tmp_path, write):
    write(os.fsdecode(b"\xff\x1b[2J"), "red \x1b[31mtext\tend")
    assert read(tmp_path) == [("\ufffd [2J", "red  [31mtext end")]


def test_a_long_file_a_long_line_many_files(tmp_path, write):
    write("a", "ä" * 2000 + "\n" + "x\n" * 20000)
    found = read(tmp_path)
    assert found[0] == ("a", "ä" * 1000 + "…")
    assert found[1:-1] == [("a", "x")] * ((16 * 1024 - 4001) // 2 + 1)
    assert found[-1] == ("a", "This notice is longer than 16 KiB; the rest is not shown")
    write("a", "ä" * 8191 + "xä")  # the limit lies within a character
    assert len(read(tmp_path)) == 2
    for number in range(102):
        write(f"b{number:03}", "x")
    *shown, last = read(tmp_path)
    assert last == (str(tmp_path), "3 further files of notices are not shown")
    assert {source for source, _ in shown} == {"a", *(f"b{number:03}" for number in range(99))}


@pytest.mark.parametrize(("make", "words"), [
    (os.mkfifo, "it is not a regular file"),
    (os.mkdir, "it is not a regular file"),
    (lambda path: path.symlink_to("/etc/shadow"), "Too many levels of symbolic links"),
])  # fmt: skip
def test_what_is_not_read(tmp_path, write, make, words):
    make(tmp_path / "odd")
    write("plain", "text")
    assert read(tmp_path) == [("odd", f"This notice cannot be read: {words}"), ("plain", "text")]


def test_a_file_where_the_directory_should_be(tmp_path, write):
    write("file", "x")
    assert read(tmp_path / "file") == [(f"{tmp_path}/file", "The directory of notices cannot be read: Not a directory")]


def test_no_descriptor_is_left_open(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    write("a", "x")
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        read(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_a_missing_directory_costs_one_system_call(monkeypatch):
    asked, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: asked.append(path) or listdir(path))
    for name in ("open", "stat", "lstat", "scandir"):
        monkeypatch.delattr(os, name)
    found = notices.read(Settings().notices + "/none")
    monkeypatch.undo()
    assert (found, asked) == ([], [Settings().notices + "/none"])
