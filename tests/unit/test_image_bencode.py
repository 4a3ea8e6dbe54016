"""Bencoding, both ways."""

import pytest

from agent_router.image.torrent.bencode import decode, encode


@pytest.mark.parametrize(("value", "text"), [
    (0, b"i0e"), (-3, b"i-3e"), (b"\0\xff", b"2:\0\xff"), ("é", b"2:\xc3\xa9"), ([], b"le"),
    ({"b": 1, "a": ["x", {}]}, b"d1:al1:xdee1:bi1ee"),
])  # fmt: skip
def test_encode(value, text):
    assert encode(value) == text


@pytest.mark.parametrize("value", [0, -3, b"", b"\0\xff", [], {}, [1, [b"x"]], {b"a": [b"x", {}], b"info": {b"b": 1}}])
def test_decode_is_the_way_back(value):
    assert decode(encode(value))[0] == value


def test_the_bytes_of_info_are_as_they_were_published():
    # Keys in the wrong order: encoding the value anew would give another hash.
    text = b"d4:infod1:bi1e1:ai2ee4:name1:xe"
    assert decode(text) == ({b"info": {b"b": 1, b"a": 2}, b"name": b"x"}, b"d1:bi1e1:ai2ee")
    assert decode(b"d1:ad4:infoi1eee")[1] == b"", "only that of the outermost"


@pytest.mark.parametrize("text", [
    b"", b"i1", b"ie", b"i--1e", b"i1.5e", b"5:abc", b"-1:x", b"99999999999999999999999:x", b"l", b"d", b"d1:a",
    b"d1:ae", b"di1ei2ee", b"x", b"i1ei2e", b"le ", b"l" * 200_000, b"d1:a" * 100_000, b"i" + b"1" * 10_000 + b"e",
])  # fmt: skip
def test_what_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        decode(text)
