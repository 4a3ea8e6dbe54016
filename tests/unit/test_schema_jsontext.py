import random
import string
from decimal import Decimal

import pytest

from agent_router.schema.jsontext import MAX_DEPTH, BadJSON, dumps, parse, pretty
from tests.support.seeds import seeds


@pytest.mark.parametrize(("raw", "value"), [
    (b"{}", {}),
    (b' [1, -2, true, false, null, "x"]\n', [1, -2, True, False, None, "x"]),
    (b"-0.0", -0.0),
    (b"1e5", 100000.0),
    (b"1.10", 1.1),
    (b"18446744073709551617", 2**64 + 1),
    (b"9" * 4300, int("9" * 4300)),
    (b"123456789.123456789123", Decimal("123456789.123456789123")),
    (b"1e-400", Decimal("1e-400")),
    (b'"\\ud83d\\ude00 \\u00e4 \x7f"', "😀 ä \x7f"),
    ('"\u2028\ufeff"'.encode(), "\u2028\ufeff"),
])  # fmt: skip
def test_accepted(raw, value):
    found = parse(raw)
    assert found == value
    assert type(found) is type(value)
    assert parse(dumps(found)) == value


@pytest.mark.parametrize(("raw", "sentence"), [
    (b"", "not JSON: Expecting value at line 1 column 1"),
    (b'{"a": 1,\n "b": }', "not JSON: Expecting value at line 2 column 7"),
    (b"{} {}", "not JSON: Extra data at line 1 column 4"),
    (b"[1,]", "Illegal trailing comma"),
    (b"01", "not JSON"),
    (b"1.", "not JSON"),
    (b".5", "not JSON"),
    (b"+1", "not JSON"),
    (b"0x10", "not JSON"),
    (b"1_000", "not JSON"),
    ("\uff11".encode(), "not JSON"),  # a digit, but not of ASCII
    (b"'a'", "not JSON"),
    (b"{a: 1}", "not JSON"),
    (b"\x0b1", "not JSON"),
    (b"\xc2\xa01", "not JSON"),
    (b'"\x01"', "not JSON: Invalid control character at line 1 column 2"),
    (b'"\\x41"', "not JSON: Invalid \\X escape sequence at line 1 column 3"),
    (b'"a\xff"', "not UTF-8: byte 2 is 0xff"),
    (b'"\xed\xa0\x80"', "not UTF-8: byte 1 is 0xed"),
    (b"\xef\xbb\xbf{}", "not JSON: begins with a byte order mark"),
    ("\u00ef\u00bb\u00bf{}".encode(), "not JSON: begins with a byte order mark"),
    (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice in one object"),
    (b'{"a": 1, "\\u0061": 3}', "the key 'a' stands twice in one object"),
    (b"[NaN]", "NaN is not JSON"),
    (b"-Infinity", "-Infinity is not JSON"),
    (b"-1e400", "the number -1e400 is too large"),
    (b"1e-99999999999999999999", "the exponent of the number 1e-99999999999999999999 is too large"),
    (b"9" * 4301, "an integer has more than 4300 digits"),
    (b'"\\ud800"', "half of a surrogate pair"),
    (b'{"\\udc00": 1}', "half of a surrogate pair"),
    (b'"\\ud83d\\ud83d"', "half of a surrogate pair"),
])  # fmt: skip
def test_refused_with_a_reason(raw, sentence):
    with pytest.raises(BadJSON) as caught:
        parse(raw)
    assert sentence in str(caught.value)
    assert "%r" not in str(caught.value)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_depth(opening, closing):
    levels = len(opening.replace(b'"a":', b""))
    limit = MAX_DEPTH // levels
    parse(opening * limit + b"1" + closing * limit)
    for times in (limit + 1, 100_000):
        with pytest.raises(BadJSON, match=f"nested deeper than {MAX_DEPTH} levels"):
            parse(opening * times + b"1" + closing * times)


def test_many_brackets_side_by_side_are_not_deep():
    assert parse(b"[" + b"[]," * 1000 + b"{}]")[-1] == {}


def any_value(source: random.Random, depth: int = 0) -> object:
    """A random JSON value; numbers at the edges of int64, double and beyond."""
    kind = source.randrange(9 if depth < 5 else 6)
    if kind == 0:
        return source.choice([None, True, False, {}, []])
    if kind == 1:
        return source.choice([-1, 1]) * source.getrandbits(source.choice([3, 31, 63, 64, 65, 200]))
    if kind == 2:
        return source.uniform(-1, 1) * 10.0 ** source.randrange(-320, 300)
    if kind == 3:
        digits = "".join(source.choices(string.digits, k=25))
        return Decimal(f"1.{digits}1e{source.randrange(-5000, 300)}")
    if kind < 6:
        letters = string.printable + '\\"/äß€😀\u2028\u0000\u001f\ufeff\uffff'
        return "".join(source.choices(letters, k=source.randrange(12)))
    if kind == 6:
        return [any_value(source, depth + 1) for _ in range(source.randrange(5))]
    return {str(any_value(source, 9)): any_value(source, depth + 1) for _ in range(source.randrange(5))}


def same(one: object, other: object) -> bool:
    """Equal in type and to the last digit, so that 1 is not True and 0.1 not Decimal('0.1')."""
    return repr(one) == repr(other)


@seeds(300)
def test_what_is_written_is_read_the_same(seed):
    value = any_value(random.Random(seed))
    assert same(parse(dumps(value)), value)
    assert same(parse(pretty(value).encode()), value)
    assert b"\n" not in dumps(value)


@seeds(200)
def test_damaged_text_is_refused_or_read_but_never_breaks_the_reader(seed):
    source = random.Random(seed)
    text = bytearray(dumps(any_value(source)))
    for _ in range(3):
        text[source.randrange(len(text)) :][:1] = b""
        text.insert(source.randrange(len(text) + 1), source.choice(b'\x00\xff{}[]":,\\-9eE.u'))
    try:
        dumps(parse(bytes(text)))
    except BadJSON as error:
        assert str(error)


def test_names_that_are_not_utf8_are_still_written():
    assert dumps({"name": "x\udce9"}) == b'{"name":"x?"}'


def test_not_a_number_is_never_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps([float("nan")])
