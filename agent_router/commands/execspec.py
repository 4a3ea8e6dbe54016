"""Unmodified programs: how a request becomes an argument vector, and an output a response.

The rules are the `exec` part of a manifest (docs/plugin-protocol.md). Pure functions; no shell.
"""

import json
import re
from typing import Any

from agent_router.catalogue.manifest_rules import TEMPLATE
from agent_router.schema.jsontext import BadJSON, dumps, parse
from agent_router.schema.pointer import resolve
from agent_router.schema.problems import Problem, RequestError
from agent_router.schema.validation import Schema

# From harmless to bad: the worst set bit of a bit mask decides.
OUTCOMES = ("ok", "unchanged", "ok+reboot", "partial", "retry", "incompatible", "refused", "invalid", "failed")

_OPENING = re.compile(r"[\[{]")
# In characters read: an attempt that fails at once, one that is too deep, the end of a cut document.
ATTEMPT, RECURSION, EDGE = 32, 1000, 64


def argv(spec: dict[str, Any], request: dict[str, Any], schema: Schema) -> list[str]:
    """The arguments for one request; RequestError if a value would be taken for an option."""
    built: list[str] = []
    for element in spec["argv"]:
        if isinstance(element, str):
            built.append(_fill(element, request, schema))
        elif (value := request.get(element["when"])) is not None and value is not False:  # 0 is a value
            built += [_fill(text, request, schema) for text in element["argv"]]
    return built


def _fill(text: str, request: dict[str, Any], schema: Schema) -> str:
    filled, at = "", 0
    for match in TEMPLATE.finditer(text):
        key, at, filled = match.group(1), match.end(), filled + text[at : match.start()]
        value = _text(request[key])
        # Not only at the start of `text`: what stands before may have been filled with nothing.
        if not filled and value.startswith("-") and not _may_start_with_dash(schema, key, request[key]):
            problem = Problem(f"$.{key}", f"{value!r} starts with - and would be taken for an option")
            raise RequestError(400, "request_invalid", str(problem), [problem])
        if "\0" in value:
            problem = Problem(f"$.{key}", "contains a zero byte, which no argument can hold")
            raise RequestError(400, "request_invalid", str(problem), [problem])
        filled += value
    return filled + text[at:]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else dumps(value).decode()


def _may_start_with_dash(schema: Schema, key: str, value: Any) -> bool:
    part = schema.get("properties", {}).get(key, {})
    if not isinstance(part, dict):  # true: any value
        return False
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
    last, at = "", 0
    patience = 4 * len(text) + (1 << 20)  # a bracket that is never closed is read to the end, each one inside again
    while patience > 0 and (match := _OPENING.search(text, at)):
        length, read = _value_at(text, match.start())
        at = match.start() + length if length else match.end()
        last = text[match.start() : at] if length else last
        patience -= 0 if length else read
    if not last:
        raise BadJSON("the output holds no complete JSON object or array")
    return parse(last.encode())


def _value_at(text: str, start: int) -> tuple[int, int]:
    """Length of the JSON value that begins at `start`, 0 if there is none, and how much had to be read."""
    size = 4096  # a window, because the error of a failed attempt counts the lines of all that is given
    while True:
        window = text[start : start + size]
        try:
            return json.JSONDecoder().raw_decode(window)[1], 0
        except RecursionError:
            return 0, RECURSION
        except json.JSONDecodeError as error:
            cut = start + size < len(text) and (error.pos > size - EDGE or error.msg.startswith("Unterminated"))
            if not cut:
                return 0, error.pos + ATTEMPT
        size *= 4
