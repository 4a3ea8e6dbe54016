"""What a manifest must keep to beyond its meta-schema, so that no call can meet a fault in it.

Each rule gives problems with their JSON path; nothing here raises for what stands in a manifest.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from agent_router.schema import annotations, subschemas
from agent_router.schema.pointer import resolve
from agent_router.schema.problems import Problem
from agent_router.schema.validation import Schema, Validator, schema_problems

TEMPLATE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def problems(data: dict[str, Any], schemas: dict[str, Schema]) -> list[Problem]:
    """What is wrong with a manifest that its meta-schema accepts, and whose two schemas are good."""
    problems: list[Problem] = []
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
            if annotations.marked(schemas["request"], {key: ""}, "writeOnly", True)
        ]
    for side, schema in schemas.items():
        problems += _values_that_break_rules(schema, f"$.{side}")
        problems += _marks_out_of_sight(schema, f"$.{side}")
    return problems or list(_wrong_examples(data, schemas))


def unknown_keys(data: Any, meta: Schema) -> list[Problem]:
    """Keys that no manifest has, with what may have been meant: the meta-schema could only say that they are wrong."""
    known = meta["properties"]
    return [
        Problem(f"$.{key}", f"no manifest has this key{_meant(key, known)}")
        for key in (data if isinstance(data, dict) else ())
        if key not in known
    ]


def _meant(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key.lower()[:40], known, n=1) or [name for name in known if name[:4] == key[:4]]
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


def _values_that_break_rules(schema: Schema, at: str) -> Iterator[Problem]:
    """Defaults and examples that the schema at their place refuses."""
    for place, node in subschemas.walk(schema):
        values = [("default", node["default"])] if "default" in node else []
        values += [(f"examples[{number}]", value) for number, value in enumerate(node.get("examples", ()))]
        if not values:
            continue
        validator = Validator(_at_its_place(schema, place, node))
        for name, value in values:
            for problem in validator.problems(value)[:1]:
                yield Problem(".".join((at, *place, name)), f"breaks its own schema: {problem.message}")


def _at_its_place(root: Schema, place: subschemas.Place, node: Schema) -> Schema:
    """A schema for the same values as `node`, whose references lead where they do in `root`."""
    if not any("$ref" in part or "$dynamicRef" in part for _, part in subschemas.walk(node)):
        return node
    there = "#/$defs/root"
    return {"$defs": {"root": subschemas.moved(root, there)}, "$ref": there + subschemas.pointer(place)}


def _marks_out_of_sight(schema: Schema, at: str) -> Iterator[Problem]:
    """Marks of secrets and devices where no value can be found for them: they would protect nothing."""
    for place, node in subschemas.walk(schema):
        for word in ("propertyNames", "not", "contentSchema"):
            if word in node and (mark := _mark_below(schema, node[word], set())):
                text = f"{mark} has no effect here; mark the value itself"
                yield Problem(".".join((at, *place, word)), text)


def _mark_below(root: Schema, schema: Any, seen: set[int]) -> str:
    """The first mark at or below `schema`, references followed; "" if there is none."""
    for _, node in subschemas.walk(schema):
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.get("writeOnly") is True:
            return "writeOnly"
        if node.get("format") == "block-device":
            return "format: block-device"
        for word in ("$ref", "$dynamicRef"):
            if word in node and (found := _mark_below(root, resolve(root, node[word][1:]), seen)):
                return found
    return ""


def _wrong_examples(data: dict[str, Any], schemas: dict[str, Schema]) -> Iterator[Problem]:
    examples = data.get("examples", ())
    for side, schema in schemas.items() if examples else ():
        validator = Validator(schema)
        for number, example in enumerate(examples):
            for problem in validator.problems(example[side]):
                yield Problem(f"$.examples[{number}].{side}{problem.path[1:]}", problem.message)


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
        except (re.error, OverflowError, RecursionError) as error:
            problems.append(Problem("$.exec.regex", f"not a regular expression: {error}"))
    if "success" in spec:
        problems += schema_problems(spec["success"], "$.exec.success")
        if not problems and not Validator(spec["success"]).problems({}):
            problems.append(Problem("$.exec.success", "accepts {}: it could never tell a failure"))
    return problems
