"""One manifest: schemas/NAME.json as an object that knows how to validate both sides.

Reading a manifest never runs the plugin. A manifest that breaks the rules of
docs/plugin-protocol.md raises ManifestError with every reason.
"""

import hashlib
from collections import deque
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from agent_router.catalogue import manifest_rules
from agent_router.schema import annotations
from agent_router.schema.jsontext import BadJSON, parse
from agent_router.schema.problems import Problem
from agent_router.schema.validation import Validator, schema_problems

MAX_BYTES = 4 << 20
SCHEMAS = ("request", "response", "$defs", "examples", "exec")  # numbers in these stay exact


class ManifestError(Exception):
    """The manifest cannot be used; str() lists every reason."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Manifest:
    """A valid manifest. `data` is the file's content; the properties below are read off it once."""

    def __init__(self, raw: bytes) -> None:
        self._take(hashlib.sha256(raw).hexdigest(), _checked(raw))

    def _take(self, sha256: str, data: dict[str, Any]) -> None:
        self.sha256 = sha256
        self.data = data
        self.effects: str = self.data["effects"]
        self.timeout_s: float = self.data.get("timeout_s", 60)
        self.grace_s: float = self.data.get("grace_s", 5)
        self.abortable: bool = self.data.get("abortable", True)
        self.closes: str = self.data.get("closes", "")
        self.supports: frozenset[str] = frozenset(self.data.get("supports", ()))
        self.exec: dict[str, Any] | None = self.data.get("exec")
        self.output_limit = int(self.data.get("output_limit_mib", 1) * (1 << 20))
        self.log_limit = int(self.data.get("log_limit_mib", 4) * (1 << 20))
        default = [] if self.effects == "read" else ["node"]
        self.locks: list[str] = self.data.get("locks", default)
        self.steps = tuple(dict.fromkeys((step["interface"], step["step"]) for step in self.data.get("steps", ())))
        schema = _with_defs(self.data, "request")
        self.has_secrets = annotations.marks_anything(schema, "writeOnly", True)
        self.has_devices = self.effects != "read" and annotations.marks_anything(schema, "format", "block-device")
        _alive[sha256] = self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without what is compiled: a process that knows the same manifest takes its own."""
        return _known, (self.sha256, self.data)

    @cached_property
    def request(self) -> Validator:
        return Validator(_with_defs(self.data, "request"))

    @cached_property
    def response(self) -> Validator:
        return Validator(_with_defs(self.data, "response"))

    @cached_property
    def success(self) -> Validator | None:
        schema = (self.exec or {}).get("success")
        return None if schema is None else Validator(schema)


_alive: WeakValueDictionary[str, Manifest] = WeakValueDictionary()
_latest: deque[Manifest] = deque(maxlen=64)  # kept alive, so that they are not compiled for each command


def _known(sha256: str, data: dict[str, Any]) -> Manifest:
    """The manifest that was pickled in another process of the agent."""
    manifest = _alive.get(sha256)
    if manifest is None:
        manifest = Manifest.__new__(Manifest)
        manifest._take(sha256, data)
        _latest.append(manifest)
    return manifest


def load(path: str) -> Manifest:
    """Read one manifest file; OSError and ManifestError are for the caller."""
    with open(path, "rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ManifestError([Problem("$", f"larger than {MAX_BYTES >> 20} MiB")])
    return Manifest(raw)


@lru_cache(1)
def _meta_validator() -> Validator:
    return Validator(parse((Path(__file__).parent / "manifest.schema.json").read_bytes()))


def _checked(raw: bytes) -> dict[str, Any]:
    try:
        data = parse(raw)
    except BadJSON as error:
        raise ManifestError([Problem("$", str(error))]) from None
    meta = _meta_validator()
    problems = manifest_rules.unknown_keys(data, meta.schema)
    if problems:  # about the others
        data = {key: value for key, value in data.items() if key in meta.schema["properties"]}
    problems += meta.problems(data)
    if not problems:
        data = {key: value if key in SCHEMAS else _plain(value) for key, value in data.items()}
        schemas = {side: _with_defs(data, side) for side in ("request", "response")}
        for side, schema in schemas.items():
            problems += schema_problems(schema, f"$.{side}")
        problems = problems or manifest_rules.problems(data, schemas)
    if problems:
        raise ManifestError(problems)
    assert isinstance(data, dict)
    return data


def _plain(value: Any) -> Any:
    """Without Decimals: what no schema is made of is calculated with, and goes into messages."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def _with_defs(data: dict[str, Any], side: str) -> dict[str, Any]:
    schema: dict[str, Any] = data[side]
    shared = data.get("$defs")
    return {**schema, "$defs": {**shared, **schema.get("$defs", {})}} if shared else schema
