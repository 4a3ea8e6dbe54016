"""Unmodified programs: how a request becomes an argument vector, and an output a response.

The rules are the `exec` part of a manifest (docs/plugin-protocol.md). Pure functions; no shell.
"""

import json
import re
from typing import Any

from agent_router.core.jsontext import BadJSON, parse
from agent_router.core.manifest import TEMPLATE
from agent_router.core.problems import Problem, RequestError
from agent_router.core.validation import Schema, resolve

# From harmless to bad: the worst set bit of a bit mask decides.
OUTCOMES = ("ok", "unchanged", "ok+reboot", "partial", "retry", "incompatible", "refused", "invalid", "failed")


def argv(spec: dict[str, Any], request: dict[str, Any], schema: Schema) -> list[str]:
    """The arguments for one request; RequestError if a value would be taken for an option."""
    built: list[str] = []
    for element in spec["argv"]:
        if isinstance(element, str):
            built.append(_fill(element, request, schema))
        elif request.get(element["when"]) not in (None, False):
            built += [_fill(text, request, schema) for text in element["argv"]]
    return built


def _fill(text: str, request: dict[str, Any], schema: Schema) -> str:
    def value(match: re.Match[str]) -> str:
        key = match.group(1)
        filled = _text(request[key])
        if match.start() == 0 and filled.startswith("-") and not _may_start_with_dash(schema, key, request[key]):
            problem = Problem(f"$.{key}", f"{filled!r} starts with - and would be taken for an option")
            raise RequestError(400, "request_invalid", str(problem), [problem])
        if "\0" in filled:
            problem = Problem(f"$.{key}", "contains a zero byte, which no argument can hold")
            raise RequestError(400, "request_invalid", str(problem), [problem])
        return filled

    return TEMPLATE.sub(value, text)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _may_start_with_dash(schema: Schema, key: str, value: Any) -> bool:
    part = schema.get("properties", {}).get(key, {})
    return value in part.get("enum", ()) or part.get("const") == value or bool(part.get("x-leading-dash"))


def outcome(spec: dict[str, Any], status: int) -> str:
    """What an exit status means: one of OUTCOMES."""
    if "exit_bits" in spec and status >= 0:
        set_bits = [spec["exit_bits"].get(str(bit), "ok") for bit in range(8) if status >> bit & 1]
        return max(set_bits, key=OUTCOMES.index, default="ok")
    codes: dict[str, str] = spec.get("exit_codes", {"0": "ok"})
    return codes.get(str(status), codes.get("*", "failed"))


def response(spec: dict[str, Any], out: bytes) -> Any:
    """The response in what the program printed; ValueError (BadJSON too) says why there is none."""
    mode = spec.get("stdout", "json")
    if mode == "json":
        return parse(out)
    if mode == "none":
        return {}
    text = out.decode(errors="replace")
    if mode == "raw":
        return {"text": text}
    if mode == "lines":
        return {"lines": text.splitlines()}
    if mode == "regex":
        found = re.search(spec["regex"], text, re.MULTILINE)
        if not found:
            raise BadJSON("the output does not match the manifest's regex")
        return {key: value for key, value in found.groupdict().items() if value is not None}
    return extract(text)


def failure_message(spec: dict[str, Any], out: bytes) -> str:
    """The sentence that `message` points at in the output of a failed run; "" if there is none."""
    if "message" not in spec:
        return ""
    try:
        found = resolve(extract(out.decode(errors="replace")), spec["message"])
    except BadJSON:
        return ""
    return found if isinstance(found, str) else ""


def extract(text: str) -> Any:
    """The last complete top-level JSON object or array in a text with banners and warnings around it."""
    last: Any = None
    at, found = 0, False
    while match := re.compile(r"[\[{]").search(text, at):
        try:
            _, at = json.JSONDecoder().raw_decode(text, match.start())
        except (ValueError, RecursionError):
            at = match.end()
            continue
        last, found = (match.start(), at), True
    if not found:
        raise BadJSON("the output holds no complete JSON object or array")
    return parse(text[last[0] : last[1]].encode())
