"""A document with long strings is read as any other; the long ones are held once."""

import json

import pytest

from agent_router.schema import jsontext, longstrings

LONG = 100


@pytest.fixture(autouse=True)
def everything_is_huge(monkeypatch):
    monkeypatch.setattr(longstrings, "HUGE", 0)
    monkeypatch.setattr(longstrings, "LONG", LONG)
    monkeypatch.setattr(longstrings, "_STEP", 7)


def outcome(raw):
    try:
        return jsontext._parse(raw)
    except jsontext.BadJSON as error:
        return str(error)


X = "x" * LONG
SAME = [
    {"a": X, "b": [X, {"c": X}], "d": "short", "e": 1},
    {X: X, X + "y": {"in": [X + "z", None, True, 1.5]}},
    X, [X], {}, [],
    {"a": X + '"', "b": X + "\\", "c": '"' + X, "d": "\\" + X + '\\"', "e": "\\\\", "f": X},
    {"a": "ü" * LONG, "b": "\N{GRINNING FACE}" * LONG, "c": X + "\n", "d": X + "\u0000"},
    {"a": list(range(LONG)), "b": X, "c": ":" * LONG, "d": "," * LONG},
]  # fmt: skip


@pytest.mark.parametrize("ascii", [True, False])
@pytest.mark.parametrize("value", SAME, ids=range(len(SAME)))
def test_the_value_is_the_same(value, ascii):
    raw = json.dumps(value, ensure_ascii=ascii).encode()
    assert jsontext.parse(raw) == value
    assert jsontext.parse(bytearray(raw)) == value


def test_equal_strings_are_one():
    found = jsontext.parse(json.dumps([X, {"a": X}, X + "y"]).encode())
    assert found[0] is found[1]["a"]
    assert found == [X, {"a": X}, X + "y"]


def test_the_long_ones_are_not_in_what_is_parsed():
    raw = json.dumps({"a": X, "b": X, "c": "y" * LONG}).encode()
    rest, strings = longstrings.lift(raw)
    assert X.encode() not in rest
    assert sorted(strings.values()) == [X, "y" * LONG]


@pytest.mark.parametrize("raw", [
    b'{"a": "' + X.encode(), b'"' + X.encode() + b'\\"', b"", b'"', b'"\\', b'"' + X.encode() + b'" "',
    b'{"a": "' + X.encode() + b'"', b'["' + X.encode() + b'\n"]', b'["' + X.encode() + b'\x1f"]',
    b'{"' + X.encode() + b'" : 1, "' + X.encode() + b'": 2}', b'["' + X.encode() + b'" "' + X.encode() + b'"]',
], ids=range(11))  # fmt: skip
def test_what_is_wrong_is_refused(raw):
    assert isinstance(outcome(raw), str)
    with pytest.raises(jsontext.BadJSON):
        jsontext.parse(raw)


def test_what_is_no_utf8_is_refused():
    with pytest.raises(jsontext.BadJSON, match="not UTF-8: a long string holds the byte 0xff"):
        jsontext.parse(b'["' + X.encode() + b'\xff"]')
    with pytest.raises(jsontext.BadJSON, match="not UTF-8"):
        jsontext.parse(b'["' + X.encode() + b'", "\xff"]')
