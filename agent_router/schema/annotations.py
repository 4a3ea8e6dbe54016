"""Find the values of a document that its schema marks: secrets (writeOnly), block devices (format).

Schema and document are walked together through properties, items, $ref and the combinators.
"""

from collections.abc import Callable, Iterator
from typing import Any

from agent_router.plugin.masking import MASK, masker
from agent_router.schema.dialect import matcher
from agent_router.schema.pointer import resolve

Schema = dict[str, Any]

MIN_SECRET = 4  # a shorter secret would blacken half of every log
MAX_SECRET = 16 << 20


def marks_anything(schema: Any, key: str, value: Any) -> bool:
    """Whether `key: value` occurs anywhere in the schema; most schemas need no walk at all."""
    if isinstance(schema, dict):
        return schema.get(key) == value or any(marks_anything(item, key, value) for item in schema.values())
    return isinstance(schema, list) and any(marks_anything(item, key, value) for item in schema)


def marked(schema: Schema, document: Any, key: str, value: Any) -> list[Any]:
    """The parts of `document` whose schema says `key: value`, without doubles, in order."""
    return list({id(part): part for part, _ in _marked(schema, document, key, value)}.values())


def marked_members(schema: Schema, document: dict[str, Any], key: str, value: Any) -> set[str | None]:
    """The names of the members that are such a part or hold one; None if the document as a whole is one."""
    return {name for _, name in _marked(schema, document, key, value)}


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
    return _masked(value, masker(hidden), set(hidden))


def _masked(value: Any, hide: Callable[[str], str], hidden: set[str]) -> Any:
    if isinstance(value, dict):
        return {hide(key): _masked(item, hide, hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, hide, hidden) for item in value]
    if isinstance(value, str):
        return hide(value)
    return MASK if not isinstance(value, bool) and str(value) in hidden else value


def _leaves(part: Any) -> Iterator[Any]:
    if isinstance(part, dict | list):
        for item in part.values() if isinstance(part, dict) else part:
            yield from _leaves(item)
    elif part is not None and not isinstance(part, bool):
        yield part


def _marked(root: Schema, document: Any, key: str, value: Any) -> Iterator[tuple[Any, str | None]]:
    """Each such part and the member of the document that it is in.

    No part is compared with the same schema twice, however many ways of alternatives and references lead there.
    """
    seen: set[tuple[int, int, str | None]] = set()
    line: list[tuple[Any, Any, str | None]] = [(root, document, None)]
    while line:
        schema, part, member = line.pop()
        place = id(schema), id(part), member
        if not isinstance(schema, dict) or place in seen:
            continue
        seen.add(place)
        if schema.get(key) == value:
            yield part, member
        below = [(*pair, name if member is None else member) for *pair, name in _parts(root, schema, part)]
        line += reversed(below)


def _parts(root: Schema, schema: Schema, document: Any) -> Iterator[tuple[Any, Any, str | None]]:
    """(schema, part of the document, its name) one step further down."""
    for word in ("$ref", "$dynamicRef"):
        if isinstance(schema.get(word), str):
            yield resolve(root, schema[word][1:]), document, None
    for word in ("allOf", "anyOf", "oneOf"):
        for alternative in schema.get(word, ()):
            yield alternative, document, None
    for word in ("if", "then", "else"):
        if word in schema:
            yield schema[word], document, None
    for condition in schema.get("dependentSchemas", {}).values():
        yield condition, document, None
    if isinstance(document, dict):
        yield from _members(schema, document)
    elif isinstance(document, list):
        yield from _items(schema, document)


def _items(schema: Schema, document: list[Any]) -> Iterator[tuple[Any, Any, None]]:
    prefix, rest = schema.get("prefixItems", ()), schema.get("items", schema.get("unevaluatedItems"))
    contains = schema.get("contains")
    for number, item in enumerate(document):
        yield (prefix[number] if number < len(prefix) else rest), item, None
        if contains is not None:
            yield contains, item, None


def _members(schema: Schema, document: dict[str, Any]) -> Iterator[tuple[Any, Any, str]]:
    properties = schema.get("properties", {})
    patterns = [(matcher(pattern), part) for pattern, part in schema.get("patternProperties", {}).items()]
    rest = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
    for name, item in document.items():
        known = name in properties
        if known:
            yield properties[name], item, name
        for matches, part in patterns:
            if matches(name):
                known = True
                yield part, item, name
        if not known:
            yield rest, item, name
