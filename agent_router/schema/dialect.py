"""JSON Schema 2020-12 with one meaning, whichever library answers.

jsonschema takes regular expressions for Python's, divides floats for multipleOf and knows no
Decimal integer; jsonschema-rs follows the standard. Here jsonschema is brought to do the same.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(r"\\.|\[\^?|\]|\$|.", re.DOTALL)
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_"}
MAX_EXPONENT = 5000  # an exact fraction has that many digits; no float has more than 324


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

    if validator.is_type(instance, "string") and not re.search(python_regex(pattern), instance):
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
