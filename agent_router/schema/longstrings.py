"""Long strings of a huge JSON document, taken out of it before it is parsed.

Ironic sends a config drive three times in one request, in base64: 85 MiB each. Parsed as it is, the document
would be held as bytes, as text and as values at once; so each different long string becomes one value.
"""

import mmap
import os
import re
from collections.abc import Iterator
from typing import Any

HUGE = 16 << 20  # of a document
LONG = 1 << 20  # of a string

_CONTROL = re.compile(rb"[\x00-\x1f]")
_STEP = 1 << 20  # searched at once: other threads wait as long as that takes
_BACKSLASH = ord("\\")


def lift(raw: bytes | mmap.mmap) -> tuple[bytes, dict[str, str]]:
    """The document with a short word for every long string, and what each word stands for; UnicodeDecodeError."""
    import hashlib  # brings OpenSSL, which most agents never need here

    mark = os.urandom(16).hex()  # so that no document can hold such a word already
    strings: dict[str, str] = {}
    words: dict[bytes, str] = {}
    parts: list[bytes] = []
    at = 0
    with memoryview(raw) as view:
        for start, end in _long(raw):
            digest = hashlib.sha256(view[start:end]).digest()
            if digest not in words:
                words[digest] = f"{mark}{len(words)}"
                strings[words[digest]] = str(view[start:end], "utf-8")
            parts += [bytes(view[at:start]), words[digest].encode()]
            at = end
        return b"".join([*parts, bytes(view[at:])]), strings


def any_in(value: Any) -> bool:
    """Whether a long string is anywhere in `value`."""
    if isinstance(value, str):
        return len(value) >= LONG
    if isinstance(value, dict):
        return any(map(any_in, value.values()))
    return isinstance(value, list) and any(map(any_in, value))


def restore(value: Any, strings: dict[str, str]) -> Any:
    """`value` with the strings in the places of their words; changed in place."""
    if isinstance(value, str):
        return strings.get(value, value)
    if isinstance(value, dict):
        for key in value:
            value[key] = restore(value[key], strings)
    elif isinstance(value, list):
        value[:] = [restore(item, strings) for item in value]
    return value


def _long(raw: bytes | mmap.mmap) -> Iterator[tuple[int, int]]:
    """Where values are that are long strings without any escape; what is wrong with others the parser tells."""
    at = 0
    while (start := raw.find(b'"', at) + 1) > 0:
        end = raw.find(b'"', start)
        while end >= 0 and _escaped(raw, end):
            end = raw.find(b'"', end + 1)
        if end < 0:
            return
        at = end + 1
        if end - start >= LONG and _plain(raw, start, end) and not raw[at : at + 64].lstrip().startswith(b":"):
            yield start, end


def _escaped(raw: bytes | mmap.mmap, quote: int) -> bool:
    at = quote
    while raw[at - 1] == _BACKSLASH:
        at -= 1
    return bool((quote - at) % 2)


def _plain(raw: bytes | mmap.mmap, start: int, end: int) -> bool:
    if raw.find(b"\\", start, end) >= 0:
        return False
    return not any(_CONTROL.search(raw, at, min(at + _STEP, end)) for at in range(start, end, _STEP))
