"""JSON Schema 2020-12: check a schema once, validate documents, name every problem with its path.

jsonschema is the authority. Where jsonschema-rs is installed it answers the common question
("is it valid?") in a microsecond; only its yes is believed, so both give the same verdicts.
"""

from collections.abc import Iterator
from typing import Any

from agent_router.core.problems import Problem

MAX_PROBLEMS = 50
MAX_MESSAGE = 300

try:
    import jsonschema_rs as _rs
except ImportError:
    _rs = None  # type: ignore[assignment]

Schema = dict[str, Any]


class Validator:
    """One compiled schema; `problems(document)` is empty for a valid document."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._fast: Any = None
        self._slow: Any = None
        if _rs is not None:
            try:
                self._fast = _rs.Draft202012Validator(schema)
            except ValueError:  # something only jsonschema can judge, e.g. a Python regex
                self._fast = None

    def problems(self, document: Any) -> list[Problem]:
        if self._fast is not None and self._fast.is_valid(document):
            return []
        return self._explain(document)

    def _explain(self, document: Any) -> list[Problem]:
        if self._slow is None:
            import jsonschema  # 60 ms of CPU: only the first wrong document pays for it

            self._slow = jsonschema.Draft202012Validator(self.schema)
        found = []
        for error in self._slow.iter_errors(document):
            found.append(Problem(error.json_path, shorten(error.message)))
            if len(found) == MAX_PROBLEMS:
                found.append(Problem("$", f"more than {MAX_PROBLEMS} problems; the rest is not listed"))
                break
        return found


def shorten(text: str) -> str:
    """Keep both ends of a long message: the middle is only the document again."""
    return text if len(text) <= MAX_MESSAGE else f"{text[:180]} … {text[-100:]}"


def schema_problems(schema: Schema, at: str) -> list[Problem]:
    """Why `schema` (which stands at JSON path `at`) is not a self-contained JSON Schema 2020-12."""
    found = list(_reference_problems(schema, schema, at))
    if not found and not (_rs is not None and _rs.meta.is_valid(schema)):
        import jsonschema

        meta = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
        found = [Problem(at + error.json_path[1:], shorten(error.message)) for error in meta.iter_errors(schema)]
    return found


def _reference_problems(node: Any, root: Schema, at: str) -> Iterator[Problem]:
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _reference_problems(item, root, f"{at}[{number}]")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in ("$ref", "$dynamicRef") and isinstance(value, str):
            if not value.startswith("#") or resolve(root, value[1:]) is None:
                yield Problem(f"{at}.{key}", f"{value!r} points at nothing in this schema; put it into $defs")
        elif key in ("$id", "$schema") and isinstance(value, str):
            if not (key == "$schema" and value.rstrip("#") == "https://json-schema.org/draft/2020-12/schema"):
                yield Problem(f"{at}.{key}", "not needed: every schema here is a local one of draft 2020-12")
        elif key not in ("enum", "const", "default", "examples"):
            yield from _reference_problems(value, root, f"{at}.{key}")


def resolve(root: Any, pointer: str) -> Any:
    """The value that a JSON Pointer (RFC 6901) names, or None."""
    node = root
    for part in pointer.split("/")[1:] if pointer else []:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node if not pointer or pointer.startswith("/") else None
