"""Bencoding."""

import pytest

from agent_router.seed.bencode import encode


@pytest.mark.parametrize(("value", "text"), [
    (0, b"i0e"), (-3, b"i-3e"), (b"\0\xff", b"2:\0\xff"), ("é", b"2:\xc3\xa9"), ([], b"le"),
    ({"b": 1, "a": ["x", {}]}, b"d1:al1:xdee1:bi1ee"),
])  # fmt: skip
def test_encode(value, text):
    assert encode(value) == text
