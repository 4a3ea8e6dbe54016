"""A request from the command line: key=value pairs, a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from agent_router.core.jsontext import BadJSON, parse


class BadArguments(Exception):
    """The words on the command line make no request; str() says which and what helps."""


def request(pairs: tuple[str, ...], file: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The request object; `schema` (the method's request schema) tells strings from numbers."""
    if file == "-" or pairs == ("-",):
        base, pairs = _document(sys.stdin.buffer.read(), "standard input"), ()
    elif file:
        try:
            base = _document(Path(file).read_bytes(), file)
        except OSError as error:
            raise BadArguments(f"{file}: {error.strerror}") from None
    else:
        base = {}
    for pair in pairs:
        key, value = _pair(pair, schema)
        base[key] = value
    return base


def _document(raw: bytes, source: str) -> dict[str, Any]:
    try:
        value = parse(raw)
    except BadJSON as error:
        raise BadArguments(f"{source}: {error}") from None
    if not isinstance(value, dict):
        raise BadArguments(f"{source}: must hold a JSON object, the request")
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
    return key, _value(text, schema.get("properties", {}).get(key, {}))


def _value(text: str, schema: Any) -> Any:
    """Text as it is where the schema wants a string; else the JSON value it spells, if it does."""
    kinds = schema.get("type") if isinstance(schema, dict) else None
    if kinds == "string":
        return text
    if kinds == "array" and not text.startswith("["):
        items = schema.get("items", {})
        return [_value(part, items) for part in text.split(",")] if text else []
    try:
        return parse(text.encode())
    except BadJSON:
        return text
