"""Bencoding (BEP 3): what torrent files and answers of a tracker are written in."""

from collections.abc import Mapping, Sequence

Value = int | bytes | str | Sequence["Value"] | Mapping[str, "Value"]


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
