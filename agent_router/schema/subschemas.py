"""The schemas inside a schema, and a schema at another place than its own."""

from collections.abc import Iterator
from typing import Any

LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")
SINGLE = (
    "items", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema",
)  # fmt: skip
DATA = ("enum", "const", "default", "examples")  # words whose values are documents

Place = tuple[str, ...]


def walk(schema: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every schema that is an object, with where it is, itself first."""
    if not isinstance(schema, dict):
        return
    yield place, schema
    for word, value in schema.items():
        if word in LISTS:
            for number, part in enumerate(value):
                yield from walk(part, (*place, word, str(number)))
        elif word in MAPS:
            for name, part in value.items():
                yield from walk(part, (*place, word, name))
        elif word in SINGLE:
            yield from walk(value, (*place, word))


def pointer(place: Place) -> str:
    """As a JSON Pointer (RFC 6901)."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in place)


def moved(node: Any, root: str) -> Any:
    """A schema with its internal references pointing at its new place."""
    if not isinstance(node, dict):
        return node
    return {word: _moved_word(word, value, root) for word, value in node.items() if word != "$schema"}


def _moved_word(word: str, value: Any, root: str) -> Any:
    if word in ("$ref", "$dynamicRef") and isinstance(value, str):
        return root + value[1:]
    if word in MAPS and isinstance(value, dict):
        return {name: moved(part, root) for name, part in value.items()}
    if word in DATA:
        return value
    return [moved(part, root) for part in value] if isinstance(value, list) else moved(value, root)
