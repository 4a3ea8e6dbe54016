"""A request from the command line: key=value pairs, a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from agent_router.schema.jsontext import BadJSON, parse
from agent_router.schema.pointer import resolve

MAX_REFERENCES = 8


class BadArguments(Exception):
    """The arguments do not form a request; str() says which one is wrong and how to fix it."""


def request(pairs: tuple[str, ...], file: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The request object; `schema` (the method's request schema) distinguishes strings from numbers."""
    if pairs == ("-",):
        file, pairs = "-", ()
    if file == "-":
        base = _document(sys.stdin.buffer.read(), "standard input")
    elif file:
        try:
            base = _document(Path(file).read_bytes(), file)
        except OSError as error:
            raise BadArguments(f"{file}: {error.strerror}") from None
    else:
        base = {}
    seen: set[str] = set()
    for pair in pairs:
        key, value = _pair(pair, schema)
        if key in seen and "array" in _types(schema.get("properties", {}).get(key, {})):
            value = [*_listed(base[key]), *_listed(value)]
        base[key] = value
        seen.add(key)
    return base


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _types(part: Any) -> list[str]:
    kinds = part.get("type", []) if isinstance(part, dict) else []
    return [kinds] if isinstance(kinds, str) else kinds


def _document(raw: bytes, source: str) -> dict[str, Any]:
    try:
        value = parse(raw)
    except BadJSON as error:
        raise BadArguments(f"{source}: {error}") from None
    if not isinstance(value, dict):
        raise BadArguments(f"{source}: must be a JSON object, the request")
    return value


def _pair(pair: str, schema: dict[str, Any]) -> tuple[str, Any]:
    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise BadArguments(f"{pair!r} is not key=value (or key:=JSON); -f FILE takes a whole request")
    if key.endswith(":"):
        key = key[:-1]
        try:
            return key, parse(text.encode())
        except BadJSON as error:
            raise BadArguments(f"{key}: {error}") from None
    return key, _value(text, schema.get("properties", {}).get(key, {}), schema)


def _value(text: str, part: Any, schema: dict[str, Any]) -> Any:
    """The text itself where the schema wants a string; else the JSON value it spells, if any."""
    for _ in range(MAX_REFERENCES):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            part = resolve(schema, part["$ref"][1:])
    part = part if isinstance(part, dict) else {}
    kinds = _types(part)
    if kinds == ["string"] or text in part.get("enum", ()) or text == part.get("const"):
        return text
    if "array" in kinds and "string" not in kinds and not text.startswith("["):
        return [_value(item, part.get("items", {}), schema) for item in text.split(",")] if text else []
    try:
        value = parse(text.encode())
    except BadJSON:
        return text
    return text if "string" in kinds and not _kinds(value) & set(kinds) else value


def _kinds(value: Any) -> set[str]:
    names = {bool: "boolean", str: "string", list: "array", dict: "object", type(None): "null"}
    return {names[type(value)]} if type(value) in names else {"number", *(["integer"] * isinstance(value, int))}
