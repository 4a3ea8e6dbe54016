"""Bencoding (BEP 3): what torrent files and answers of a tracker are written in."""

from collections.abc import Mapping, Sequence
from typing import Any

Value = int | bytes | str | Sequence["Value"] | Mapping[str, "Value"]
DEEPEST = 32  # a torrent file needs 5


def encode(value: Value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, Mapping):
        # Keys are sorted as raw bytes; for UTF-8 that is the order of code points.
        return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"
    return b"l" + b"".join(encode(one) for one in value) + b"e"


def decode(data: bytes) -> tuple[Any, bytes]:
    """(value, the bytes of its entry `info` if it is a dictionary with one); strings are bytes, so are keys.

    Raises ValueError for what is no bencoding, and for bytes behind it.
    """
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes lie behind its end")
    return value, data[slice(*reader.info)]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0
        self.info = (0, 0)

    def value(self, depth: int) -> Any:
        kind = self._data[self.at : self.at + 1]
        if kind.isdigit():
            return self._string()
        if depth > DEEPEST or kind not in (b"i", b"l", b"d"):
            raise ValueError(f"byte {self.at} begins nothing that is known")
        self.at += 1
        if kind == b"i":
            return self._number(b"e")
        found = list(self._items(depth + 1)) if kind == b"l" else dict(self._pairs(depth + 1))
        self.at += 1
        return found

    def _more(self) -> bool:
        if self.at >= len(self._data):
            raise ValueError("it ends in the middle")
        return self._data[self.at] != ord("e")

    def _items(self, depth: int) -> Any:
        while self._more():
            yield self.value(depth)

    def _pairs(self, depth: int) -> Any:
        while self._more():
            key, start = self._string(), self.at
            yield key, self.value(depth)
            if depth == 1 and key == b"info":
                self.info = (start, self.at)

    def _string(self) -> bytes:
        length = self._number(b":")
        found = self._data[self.at : self.at + length]
        if length < 0 or len(found) < length:
            raise ValueError(f"a string at byte {self.at} is longer than what is left")
        self.at += length
        return found

    def _number(self, end: bytes) -> int:
        until = self._data.find(end, self.at, self.at + 24)
        if until < 0:
            raise ValueError(f"a number at byte {self.at} does not end")
        digits, self.at = self._data[self.at : until], until + 1
        return int(digits)  # ValueError for what is none
