"""What the check of a document may cost, as far as its schema alone tells."""

import math
from collections.abc import Iterator
from typing import Any

from agent_router.schema.pointer import resolve
from agent_router.schema.problems import Problem

MOST_IN_PLACE = 10_000  # schemas for one place of a document
MOST_DEEP = 150  # schemas inside each other, references followed

# Words whose schemas look at the same place of the document as the schema that they stand in; at parts of it.
IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
BELOW = ("properties", "patternProperties", "additionalProperties", "propertyNames", "items", "prefixItems", "contains")
_MAPS = ("properties", "patternProperties", "dependentSchemas")
# These check parts once more to know what the others have looked at; each of them inside another doubles the work.
_REPEATED = ("unevaluatedProperties", "unevaluatedItems", "$dynamicRef")


def weight(schema: Any) -> float:
    """How many schemas one document may have to be compared with: infinite if it refers to itself."""
    return _weigh(schema, schema, IN_PLACE + BELOW, {}, 0)


def problems(schema: Any, at: str) -> Iterator[Problem]:
    """Why a check by `schema`, which stands at JSON path `at`, might not end in a lifetime."""
    known: dict[int, float] = {}
    worst = max((_weigh(node, schema, IN_PLACE, known, 0) for node in _nodes(schema)), default=0)
    if worst == math.inf:
        yield Problem(
            at,
            "a $ref leads back to itself, or through too many others, at one place of the document: no check would end",
        )
    elif worst > MOST_IN_PLACE:
        yield Problem(at, f"its references stand for more than {MOST_IN_PLACE} schemas of one value; use fewer")


def _weigh(node: Any, root: Any, words: tuple[str, ...], known: dict[int, float], depth: int) -> float:
    if not isinstance(node, dict):
        return 1
    if depth > MOST_DEEP:
        return math.inf
    if id(node) not in known:
        known[id(node)] = math.inf  # found again before it is weighed: it refers to itself
        parts = sum(_weigh(part, root, words, known, depth + 1) for part in _parts(node, root, words))
        again = math.inf if any(word in node for word in _REPEATED) and words != IN_PLACE else 0
        known[id(node)] = 1 + parts + again + (len(node["enum"]) if isinstance(node.get("enum"), list) else 0)
    return known[id(node)]


def _parts(node: dict[str, Any], root: Any, words: tuple[str, ...]) -> Iterator[Any]:
    for word in ("$ref", "$dynamicRef"):
        if isinstance(node.get(word), str):
            yield resolve(root, node[word][1:])
    for word in words:
        value = node.get(word)
        if isinstance(value, list):
            yield from value
        elif isinstance(value, dict) and word in _MAPS:
            yield from value.values()
        else:
            yield value


def _nodes(value: Any) -> Iterator[Any]:
    """Everything in a schema that may be one."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _nodes(part)
