"""JSON text in and out, strict on the way in.

Refused: anything but UTF-8, duplicate keys, NaN and Infinity, numbers beyond a double,
lone surrogates, nesting deeper than MAX_DEPTH. Kept exact: integers of any size up to 4,300
digits (Python's own limit for int()), decimals that a double cannot hold (as Decimal).
"""

import math
import mmap
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import simplejson

from agent_router.schema import longstrings

MAX_DEPTH = 64

_MARKS = ("\ufeff", "\u00ef\u00bb\u00bf")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class BadJSON(ValueError):
    """The text is not acceptable JSON; str() is a sentence that says where and why."""


def parse(raw: bytes | mmap.mmap) -> Any:
    """Return the one JSON value in `raw`; BadJSON says what is wrong with it."""
    if len(raw) < longstrings.HUGE:
        return _parse(bytes(raw))
    try:
        rest, strings = longstrings.lift(raw)
    except UnicodeDecodeError as error:
        raise BadJSON(f"not UTF-8: a long string holds the byte 0x{error.object[error.start]:02x}") from None
    try:
        return longstrings.restore(_parse(rest), strings)
    except BadJSON as error:
        raise BadJSON(f"{error} (strings of a megabyte and more not counted)") from None


def _parse(raw: bytes) -> Any:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadJSON(f"not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}") from None
    if text.startswith(_MARKS):  # simplejson would pass over it; the agent hands raw answers on
        raise BadJSON("not JSON: begins with a byte order mark")
    try:
        value = _DECODER.decode(text)
    except BadJSON:
        raise
    except RecursionError:
        raise BadJSON(f"nested deeper than {MAX_DEPTH} levels") from None
    except simplejson.JSONDecodeError as error:
        what = error.msg.replace(" %r at", "").replace(" %r", "")  # simplejson leaves its blanks unfilled
        raise BadJSON(f"not JSON: {what} at line {error.lineno} column {error.colno}") from None
    except ValueError:
        raise BadJSON("an integer has more than 4300 digits") from None
    # A document with few brackets cannot be nested deeply; only others are measured.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise BadJSON(f"nested deeper than {MAX_DEPTH} levels")
    if _SURROGATE.search(raw):
        _refuse_lone_surrogates(value)
    return value


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; Decimals are written digit for digit."""
    # parse() lets no lone surrogate in, but file names may hold bytes that are no UTF-8: shown as "?".
    return _ENCODE(value).encode(errors="replace")


def pieces(value: Any) -> Iterator[bytes]:
    """The same piece by piece: a document with long strings is never in memory a second time."""
    for text in _ENCODER.iterencode(value):
        yield text.encode(errors="replace")


def pretty(value: Any) -> str:
    return str(simplejson.dumps(value, indent=2, ensure_ascii=False, use_decimal=True))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJSON(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return value


def _float(text: str) -> float | Decimal:
    value = float(text)
    if math.isinf(value):
        raise BadJSON(f"the number {_quoted(text)} is too large")
    if repr(value) == text:
        return value
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise BadJSON(f"the exponent of the number {_quoted(text)} is too large") from None
    return value if Decimal(repr(value)) == exact else exact


def _quoted(number: str) -> str:
    """Whole or not at all: it may be a secret, and half of one would not be masked any more."""
    return number if len(number) <= 40 else f"of {len(number)} characters"


def _constant(text: str) -> NoReturn:
    raise BadJSON(f"{text} is not JSON")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    return depth


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        simplejson.dumps(value, ensure_ascii=False, use_decimal=True).encode()
    except UnicodeEncodeError:
        raise BadJSON("a string holds half of a surrogate pair (\\ud800 to \\udfff alone)") from None


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _object, "parse_float": _float, "parse_constant": _constant, "allow_nan": True,
}  # fmt: skip
_DECODER = simplejson.JSONDecoder(**_HOOKS)
_ENCODER = simplejson.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, use_decimal=True, allow_nan=False, for_json=False
)
_ENCODE = _ENCODER.encode
