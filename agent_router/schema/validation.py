"""JSON Schema 2020-12: check a schema once, validate documents, name every problem with its path.

jsonschema is the authority (see dialect). Where jsonschema-rs is installed it answers the common
question ("is it valid?") in a microsecond; only its yes is believed, so both give the same verdicts.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from typing import Any

from agent_router.plugin.masking import mask_urls
from agent_router.schema import cost
from agent_router.schema.dialect import authority, fast_library, linear, python_regex
from agent_router.schema.pointer import resolve
from agent_router.schema.problems import Problem

MAX_PROBLEMS = 50
MAX_MESSAGE = 300
QUICK = 4 << 20  # schemas times bytes: a tenth of a second at the worst, as a rule a thousandth

Schema = dict[str, Any]

_DECIMAL = re.compile(r"Decimal\('([^']*)'\)")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")


class TakesLong(Exception):
    """The check may take long enough to be noticed by others: not here (see commands/judge_process.py)."""


class Validator:
    """One compiled schema; `problems(document)` is empty for a valid document."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._linear: Any = linear(schema)
        self._fast: Any = self._linear
        self._slow: Any = None
        if self._fast is None and (rs := fast_library()) is not None:
            with contextlib.suppress(ValueError):  # something only jsonschema can judge, e.g. a Python regex
                self._fast = rs.Draft202012Validator(schema)

    @cached_property
    def _weight(self) -> float:
        return cost.weight(self.schema)

    def is_quick(self, length: int) -> bool:
        """Whether nobody notices how long it takes to find a document of `length` bytes valid."""
        return self._linear is not None and self._weight * length <= QUICK

    def problems(self, document: Any, hide: Callable[[str], str] = str, hasty: bool = False) -> list[Problem]:
        """`hide` masks secrets in a message, before it is shortened: half a secret would not be found any more.

        With `hasty`, TakesLong if something is wrong with the document: to say what costs a thousand times as much.
        """
        if self._fast is not None and self._fast.is_valid(document):
            return []
        if hasty:
            raise TakesLong
        return self._explain(document, hide)

    def _explain(self, document: Any, hide: Callable[[str], str]) -> list[Problem]:
        if self._slow is None:
            self._slow = authority(self.schema)  # only the first wrong document pays for it
        found = []
        for error in chain.from_iterable(map(plain, self._slow.iter_errors(document))):
            found.append(Problem(hide(error.json_path), shorten(mask_urls(hide(sentence(error))))))
            if len(found) == MAX_PROBLEMS:
                found.append(Problem("$", f"more than {MAX_PROBLEMS} problems; the rest is not listed"))
                break
        return found


def plain(error: Any) -> Iterator[Any]:
    """Instead of "not valid under any of the given schemas", what is wrong with the alternative that was meant."""
    alternatives: dict[int, list[Any]] = {}
    for one in error.context or []:
        alternatives.setdefault(one.relative_schema_path[0], []).append(one)
    # Not those for another type of value.
    meant = [ones for ones in alternatives.values() if not any(_of_type(one) for one in ones)]
    if error.validator not in ("anyOf", "oneOf") or len(meant) != 1:
        yield error
        return
    for one in meant[0]:
        yield from plain(one)


def _of_type(error: Any) -> bool:
    return error.validator == "type" and not error.relative_path


def sentence(error: Any) -> str:
    """The message; for a property that is unknown also what it may be meant for."""
    if error.validator != "additionalProperties" or not isinstance(error.instance, dict):
        return str(error.message)
    known = list(error.schema.get("properties", {}))
    similar = [get_close_matches(name, known, 1) for name in error.instance if name not in known]
    meant = [name for names in similar for name in names]
    return f"{error.message}; did you mean {' and '.join(meant)}?" if meant else str(error.message)


def shorten(text: str) -> str:
    """Keep both ends of a long message: the middle is only the document again."""
    text = _DECIMAL.sub(r"\1", text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:180]} … {text[-100:]}"


def schema_problems(schema: Schema, at: str) -> list[Problem]:
    """Why `schema` (which stands at JSON path `at`) is not a self-contained JSON Schema 2020-12."""
    # The standard first: whoever walks through the schema later relies on it.
    return _standard_problems(schema, at) or list(_own_problems(schema, schema, at)) or list(cost.problems(schema, at))


def _standard_problems(schema: Schema, at: str) -> list[Problem]:
    if (rs := fast_library()) is not None and rs.meta.is_valid(schema):
        return []
    import jsonschema

    meta = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
    return [Problem(at + error.json_path[1:], shorten(error.message)) for error in meta.iter_errors(schema)]


def _own_problems(node: Any, root: Schema, at: str) -> Iterator[Problem]:
    """References, names and regular expressions that could only fail when a document is validated."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _own_problems(item, root, f"{at}[{number}]")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        here = f"{at}.{key}"
        if key in _SCHEMA_MAPS and isinstance(value, dict):
            for name, part in value.items():
                yield from _own_problems(part, root, f"{here}.{name}")
                if key == "patternProperties":
                    yield from _regex_problems(name, here)
        elif isinstance(value, str):
            yield from _word_problems(key, value, root, here)
        elif key not in ("enum", "const", "default", "examples"):
            yield from _own_problems(value, root, here)


def _word_problems(key: str, text: str, root: Schema, at: str) -> Iterator[Problem]:
    if key in ("$ref", "$dynamicRef"):
        if "%" in text:  # decoded by some
            yield Problem(at, f"{text!r} holds a %; give that definition a name without one")
        elif not text.startswith("#") or not isinstance(resolve(root, text[1:]), dict | bool):
            yield Problem(at, f"{text!r} points at no schema in this one; put it into $defs")
    elif key == "$id" or (key == "$schema" and text.rstrip("#") != "https://json-schema.org/draft/2020-12/schema"):
        yield Problem(at, "not needed: every schema here is a local one of draft 2020-12")
    elif key == "pattern":
        yield from _regex_problems(text, at)


def _regex_problems(pattern: str, at: str) -> Iterator[Problem]:
    try:
        re.compile(python_regex(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        yield Problem(at, f"{pattern!r} is not a regular expression: {error}")
