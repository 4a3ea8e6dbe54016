"""One manifest: schemas/NAME.json as an object that knows how to validate both sides.

Reading a manifest never runs the plugin. A manifest that breaks the rules of
docs/plugin-protocol.md raises ManifestError with every reason.
"""

import hashlib
import re
from collections import deque
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from agent_router.schema import annotations
from agent_router.schema.jsontext import BadJSON, parse
from agent_router.schema.problems import Problem
from agent_router.schema.validation import Validator, schema_problems

MAX_BYTES = 4 << 20
TEMPLATE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


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
    problems = _meta_validator().problems(data)
    if not problems:
        for side in ("request", "response"):
            problems += schema_problems(_with_defs(data, side), f"$.{side}")
        problems += _own_rules(data)
    if problems:
        raise ManifestError(problems)
    assert isinstance(data, dict)
    return data


def _with_defs(data: dict[str, Any], side: str) -> dict[str, Any]:
    schema: dict[str, Any] = data[side]
    shared = data.get("$defs")
    return {**schema, "$defs": {**shared, **schema.get("$defs", {})}} if shared else schema


def _own_rules(data: dict[str, Any]) -> list[Problem]:
    """What the meta-schema cannot say."""
    problems = []
    if data["request"].get("type") != "object":
        problems.append(Problem("$.request.type", 'must be "object": a request is always a JSON object'))
    known, always = _request_keys(data["request"])
    for lock in data.get("locks", ()):
        problems += [
            Problem("$.locks", f"{lock!r} needs {key!r}, which the request schema must require")
            for key in TEMPLATE.findall(lock)
            if key not in always
        ]
    if "closes" in data and "plan" in data.get("supports", ()):
        problems.append(Problem("$.closes", "goes with no plan: a plan that succeeded would end the serving too"))
    if "exec" in data:
        problems += _exec_rules(data["exec"], known, always)
        problems += [
            Problem("$.exec.argv", f"{key!r} is writeOnly, and arguments are no secret (ps shows them); use stdin")
            for key in TEMPLATE.findall(str(data["exec"]["argv"]))
            if annotations.marked(_with_defs(data, "request"), {key: ""}, "writeOnly", True)
        ]
    return problems


def _request_keys(schema: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Names of the properties, and of those whose value is always there (required or default)."""
    properties = schema.get("properties", {})
    defaults = {name for name, part in properties.items() if isinstance(part, dict) and "default" in part}
    return set(properties), set(schema.get("required", ())) | defaults


def _exec_rules(spec: dict[str, Any], known: set[str], always: set[str]) -> list[Problem]:
    problems = []
    for element in spec["argv"]:
        conditional = isinstance(element, dict)
        if conditional and element["when"] not in known:
            problems.append(Problem("$.exec.argv", f"no request property is called {element['when']!r}"))
        allowed = always | ({element["when"]} if conditional else set())
        for text in element["argv"] if conditional else [element]:
            problems += [
                Problem("$.exec.argv", f"{text!r} needs {key!r}: require it, give it a default, or use when")
                for key in TEMPLATE.findall(text)
                if key not in allowed
            ]
    if (spec.get("stdout") == "regex") != ("regex" in spec):
        problems.append(Problem("$.exec.regex", "goes together with stdout: regex"))
    if "regex" in spec:
        try:
            if not re.compile(spec["regex"]).groupindex:
                problems.append(Problem("$.exec.regex", "has no named group such as (?P<version>...)"))
        except re.error as error:
            problems.append(Problem("$.exec.regex", f"not a regular expression: {error}"))
    if "success" in spec:
        problems += schema_problems(spec["success"], "$.exec.success")
        if not problems and not Validator(spec["success"]).problems({}):
            problems.append(Problem("$.exec.success", "accepts {}: it could never tell a failure"))
    return problems
