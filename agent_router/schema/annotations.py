"""Find the values of a document that its schema marks: secrets (writeOnly), block devices (format).

Schema and document are walked together through properties, items, $ref and the combinators.
"""

from collections.abc import Iterator
from typing import Any

from agent_router.plugin.masking import MASK, mask
from agent_router.schema.validation import Schema, resolve

MIN_SECRET = 4  # a shorter secret would blacken half of every log
MAX_SECRET = 16 << 20
MAX_WALK = 64


def marks_anything(schema: Any, key: str, value: Any) -> bool:
    """Whether `key: value` occurs anywhere in the schema; most schemas need no walk at all."""
    if isinstance(schema, dict):
        return schema.get(key) == value or any(marks_anything(item, key, value) for item in schema.values())
    return isinstance(schema, list) and any(marks_anything(item, key, value) for item in schema)


def marked(schema: Schema, document: Any, key: str, value: Any) -> list[Any]:
    """The parts of `document` whose schema says `key: value`, without doubles, in order."""
    return list({id(part): part for part in _marked(schema, schema, document, key, value, 0)}.values())


def secrets(schema: Schema, document: Any, longest: int = MAX_SECRET) -> list[str]:
    """Every string and number below a writeOnly schema, long ones first (one may contain another).

    One that is longer than all that a plugin may print can stand nowhere, and is passed over: a config drive.

    The lines of one that has several (a key in PEM) count too: a log has them one by one.
    """
    leaves = [str(leaf) for part in marked(schema, document, "writeOnly", True) for leaf in _leaves(part)]
    found = {text for leaf in leaves if len(leaf) <= longest for text in (leaf, *leaf.splitlines())}
    return sorted((text for text in found if len(text) >= MIN_SECRET), key=lambda text: (-len(text), text))


def mask_value(value: Any, hidden: list[str]) -> Any:
    """`value` with every secret in its strings, keys and numbers replaced."""
    if isinstance(value, dict):
        return {mask(key, hidden): mask_value(item, hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [mask_value(item, hidden) for item in value]
    if isinstance(value, str):
        return mask(value, hidden)
    return MASK if not isinstance(value, bool) and str(value) in hidden else value


def _leaves(part: Any) -> Iterator[Any]:
    if isinstance(part, dict | list):
        for item in part.values() if isinstance(part, dict) else part:
            yield from _leaves(item)
    elif part is not None and not isinstance(part, bool):
        yield part


def _marked(root: Schema, schema: Any, document: Any, key: str, value: Any, depth: int) -> Iterator[Any]:
    if not isinstance(schema, dict) or depth > MAX_WALK:
        return
    if schema.get(key) == value:
        yield document
    for part_schema, part in _parts(root, schema, document):
        yield from _marked(root, part_schema, part, key, value, depth + 1)


def _parts(root: Schema, schema: Schema, document: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of (schema, part of the document) one step further down."""
    for word in ("$ref", "$dynamicRef"):
        if isinstance(schema.get(word), str):
            yield resolve(root, schema[word][1:]), document
    for word in ("allOf", "anyOf", "oneOf"):
        for alternative in schema.get(word, ()):
            yield alternative, document
    for word in ("if", "then", "else"):
        if word in schema:
            yield schema[word], document
    for condition in schema.get("dependentSchemas", {}).values():
        yield condition, document
    if isinstance(document, dict):
        yield from _members(schema, document)
    elif isinstance(document, list):
        yield from _items(schema, document)


def _items(schema: Schema, document: list[Any]) -> Iterator[tuple[Any, Any]]:
    prefix, rest = schema.get("prefixItems", ()), schema.get("items", schema.get("unevaluatedItems"))
    for number, item in enumerate(document):
        yield (prefix[number] if number < len(prefix) else rest), item
        yield schema.get("contains"), item


def _members(schema: Schema, document: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    import re

    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in document.items():
        known = name in properties
        if known:
            yield properties[name], item
        for pattern, part in patterns.items():
            if re.search(pattern, name):
                known = True
                yield part, item
        if not known:
            yield schema.get("additionalProperties", schema.get("unevaluatedProperties")), item
