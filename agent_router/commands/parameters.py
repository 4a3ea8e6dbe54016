"""What the parameters of a request become besides stdin: locks, and PARAM_… variables."""

import os
import re
from decimal import Decimal
from typing import Any

from agent_router.catalogue.manifest import Manifest
from agent_router.catalogue.manifest_rules import TEMPLATE
from agent_router.plugin import devices
from agent_router.schema import annotations
from agent_router.schema.jsontext import dumps
from agent_router.schema.problems import RequestError

PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PARAM_BYTES, PARAMS_BYTES = 32 << 10, 128 << 10


def with_defaults(schema: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The request with the defaults of its top-level properties filled in."""
    defaults = {
        key: part["default"]
        for key, part in schema.get("properties", {}).items()
        if key not in params and isinstance(part, dict) and "default" in part
    }
    return {**params, **defaults} if defaults else params


def locks(templates: list[str], request: dict[str, Any]) -> list[str]:
    """The names, their keys filled in; what is for a key that is null is no lock."""
    meant = [text for text in templates if all(request[key] is not None for key in TEMPLATE.findall(text))]
    return [TEMPLATE.sub(lambda match: _lock_value(request[match.group(1)]), text) for text in meant]


def _lock_value(value: Any) -> str:
    if isinstance(value, float | Decimal) and value == int(value):
        value = int(value)
    text = str(value)
    if "\0" in text:
        raise RequestError(400, "request_invalid", f"{text!r} contains a zero byte, which no lock can hold")
    if not text.startswith("/"):
        return text
    # One lock for a disk, however it is called, and for what is mounted from it.
    real = os.path.realpath("/" + text.lstrip("/"))  # POSIX leaves two slashes at the beginning as they are
    device = devices.whole_disk(real)
    if device == real and not real.startswith("/dev/") and (mounted := devices.mounted_at(real)):
        return devices.whole_disk(os.path.realpath(mounted))
    return device


def param_variables(manifest: Manifest, request: dict[str, Any]) -> dict[str, str]:
    """PARAM_… for the scalar values that are no secret, have a good name and fit an environment."""
    found: dict[str, str] = {}
    schema = manifest.request.schema
    secret = annotations.marked_members(schema, request, "writeOnly", True) if manifest.has_secrets else set()
    if None in secret:
        return found
    total = 0
    for key, value in request.items():
        if key in secret or not PARAM_NAME.fullmatch(key):
            continue
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, str):
            text = value
        elif isinstance(value, dict | list) or value is None:
            continue
        else:
            text = dumps(value).decode()
        size = len(text.encode())
        if "\0" in text or size > PARAM_BYTES or total + size > PARAMS_BYTES:
            continue
        total += size
        found["PARAM_" + key] = text
    return found
