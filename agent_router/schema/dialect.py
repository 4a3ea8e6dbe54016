"""JSON Schema 2020-12 with one meaning, whichever library answers.

jsonschema takes regular expressions for Python's, divides floats for multipleOf and knows no
Decimal integer; jsonschema-rs follows the standard. Here jsonschema is brought to do the same.

Regular expressions are matched by the engine of jsonschema-rs that never goes back in a text, where it is installed
and knows the expression: Python's may need longer than anybody lives, and keeps the whole process waiting.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(r"\\.|\[\^?|\]|\$|.", re.DOTALL)
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_"}
_FLAGS = re.compile(r"\(\?[aiLmsux]")  # of Python; the standard has none
REGEX_BYTES = 64 << 10  # of a compiled expression: what it costs for each character
MAX_EXPONENT = 5000  # an exact fraction has that many digits; no float has more than 324


@lru_cache(1)
def fast_library() -> Any:
    """jsonschema-rs, or None; imported at the first schema, because an idle agent does not need its 8 MiB."""
    try:
        import jsonschema_rs
    except ImportError:
        return None
    return jsonschema_rs


def linear(schema: dict[str, Any]) -> Any:
    """A validator of jsonschema-rs whose expressions never go back; None where there is no such."""
    if (rs := fast_library()) is None:
        return None
    try:
        return rs.Draft202012Validator(schema, pattern_options=rs.RegexOptions(size_limit=REGEX_BYTES))
    except (ValueError, AttributeError):  # another dialect, a look-around; an old version of the library
        return None


@lru_cache(256)
def matcher(pattern: str) -> Callable[[str], bool]:
    """What tells whether a text matches `pattern` somewhere."""
    if not _FLAGS.search(pattern) and (found := linear({"pattern": pattern})) is not None:
        return found.is_valid  # type: ignore[no-any-return]
    search = re.compile(python_regex(pattern)).search
    return lambda text: search(text) is not None


def authority(schema: dict[str, Any]) -> Any:
    """A jsonschema validator for `schema`; it costs 60 ms of CPU to import."""
    return _validator()(_translated(schema))


def python_regex(pattern: str) -> str:
    r"""A regular expression of JSON Schema (ECMA 262) as Python's: \d and \w are ASCII, $ is the very end."""
    inside = False

    def word(match: re.Match[str]) -> str:
        nonlocal inside
        token = match[0]
        if token[0] == "[" and not inside:
            inside = True
        elif token == "]":
            inside = False
        elif token == "$" and not inside:
            return r"\Z"
        elif token[0] == "\\" and token[1:].lower() in _CLASSES:
            letters, negated = _CLASSES[token[1:].lower()], token[1:].isupper()
            if not inside:
                return f"[^{letters}]" if negated else f"[{letters}]"
            return token if negated else letters
        return token

    return _TOKEN.sub(word, pattern)


@lru_cache(1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator, validators

    checker = Draft202012Validator.TYPE_CHECKER
    plain = checker.is_type

    def integer(_: Any, value: Any) -> bool:
        return plain(value, "integer") or (isinstance(value, Decimal) and value == value.to_integral_value())

    return validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        {"pattern": _pattern, "multipleOf": _multiple_of},
        type_checker=checker.redefine("integer", integer),
    )


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not matcher(pattern)(instance):
        # For people in words, if the schema has them; whoever writes a manifest knows regular expressions.
        words = schema.get("description")
        yield ValidationError(f"{instance!r} does not " + (f"fit: {words}" if words else f"match {pattern!r}"))


def _multiple_of(validator: Any, factor: Any, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "number") and not _divides(Decimal(str(factor)), Decimal(str(instance))):
        yield ValidationError(f"{instance!r} is not a multiple of {factor!r}")


def _divides(factor: Decimal, number: Decimal) -> bool:
    from fractions import Fraction

    if not number:
        return True
    if max(abs(factor.adjusted()), abs(number.adjusted())) > MAX_EXPONENT:
        return False
    return (Fraction(number) / Fraction(factor)).denominator == 1


def _translated(node: Any) -> Any:
    """The schema with the names in patternProperties as regular expressions of Python."""
    if isinstance(node, list):
        return [_translated(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _translated(value) for key, value in node.items()}
    if isinstance(node.get("patternProperties"), dict):
        changed["patternProperties"] = {python_regex(key): value for key, value in changed["patternProperties"].items()}
    return changed
