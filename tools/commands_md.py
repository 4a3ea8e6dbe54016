#!/usr/bin/env python3
"""Write docs/commands.md from the manifests in schemas/; with --check, only report whether it is stale."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Commands

One section per plugin, in the order of `ls plugins.d`. Generated from `schemas/` by `make docs`; do not edit.
[plugin-protocol.md](plugin-protocol.md) explains the terms (effects, locks, exit status, steps).
"""
URL = "http://127.0.0.1:9999/v1/methods"
CONSTRAINTS = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}", "minLength": "length ≥ {}", "maxLength": "length ≤ {}",
    "minItems": "items ≥ {}", "maxItems": "items ≤ {}",
    "pattern": "matches `{}`", "format": "format {}",
}  # fmt: skip

Schema = dict[str, Any]


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def cell(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return text.replace("\n", " ").replace("|", "\\|")


def resolved(schema: Schema, defs: Schema) -> Schema:
    """`schema` with a reference to $defs resolved; sibling keys take precedence."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return {**defs[name], **schema} if name in defs else schema


def kind(schema: Schema, defs: Schema) -> str:
    """The type of a value in short: string, array of integer, "a" or "b"."""
    if "const" in schema:
        return f"`{compact(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{compact(value)}`" for value in schema["enum"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(kind(resolved(part, defs), defs) for part in schema[word]))
    types = schema.get("type", "any")
    text = types if isinstance(types, str) else " or ".join(types)
    items = schema.get("items")
    return f"{text} of {kind(resolved(items, defs), defs)}" if isinstance(items, dict) and items else text


def remarks(schema: Schema) -> str:
    """Description, limits, default and secrecy of one value as sentences."""
    parts = [schema["description"].rstrip(".")] if "description" in schema else []
    parts += [text.format(schema[key]) for key, text in CONSTRAINTS.items() if key in schema]
    if "default" in schema:
        parts.append(f"default `{compact(schema['default'])}`")
    if schema.get("writeOnly"):
        parts.append("secret")
    return "; ".join(parts)


def rows(schema: Schema, defs: Schema, prefix: str = "", seen: tuple[str, ...] = ()) -> Iterator[str]:
    """One table row per property, followed by those of nested objects and of objects in arrays."""
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        reference = part.get("$ref", "")
        part = resolved(part, defs)
        must = "yes" if name in required else "no"
        yield f"| `{prefix}{name}` | {cell(kind(part, defs))} | {must} | {cell(remarks(part))} |"
        items = part.get("items")
        inner, path = (items, f"{prefix}{name}[].") if isinstance(items, dict) else (part, f"{prefix}{name}.")
        references = (*seen, reference, inner.get("$ref", ""))
        if not {reference, inner.get("$ref", "")} & set(seen) - {""}:
            yield from rows(resolved(inner, defs), defs, path, references)


def table(title: str, schema: Schema, defs: Schema) -> str:
    schema = resolved(schema, defs)
    body = list(rows(schema, defs))
    more = "" if schema.get("additionalProperties", True) is False else " Other keys are allowed."
    if not body:
        text = f"{title}: {'an empty object.' if not more else f'any {kind(schema, defs)}.'}"
        return text + (f" {schema['description']}" if "description" in schema else "")
    head = "| key | type | required | meaning |\n|---|---|---|---|"
    return f"{title}.{more}\n\n{head}\n" + "\n".join(body)


def seconds(value: float) -> str:
    return f"{value:g} s"


def facts(manifest: Schema) -> str:
    """The line below the title: effects, time limit, version, locks and requirements."""
    locks = manifest.get("locks", [] if manifest["effects"] == "read" else ["node"])
    parts = [
        f"Effects: {manifest['effects']}",
        f"time limit: {seconds(manifest.get('timeout_s', 60))}",
        f"version: {manifest['version']}",
    ]
    if locks:
        parts.append("locks: " + ", ".join(f"`{lock}`" for lock in locks))
    if not manifest.get("abortable", True):
        parts.append("cannot be cancelled")
    if manifest.get("supports"):
        parts.append(f"supports: {', '.join(manifest['supports'])}")
    for what, names in manifest.get("needs", {}).items():
        if names:
            parts.append(f"needs {what}: " + ", ".join(f"`{name}`" for name in names))
    if manifest.get("match"):
        parts.append("for hardware: " + " or ".join(f"`{compact(entry)}`" for entry in manifest["match"]))
    return "; ".join(parts) + "."


def steps(manifest: Schema) -> str:
    lines = []
    for step in manifest.get("steps", ()):
        phases = [
            f"{phase} (priority {step['priority'][phase]})" if phase in step.get("priority", {}) else phase
            for phase in step["phases"]
        ]
        lines.append(f"- Ironic step `{step['interface']}.{step['step']}`: {', '.join(phases)}")
    return "\n".join(lines)


def example(name: str, number: int, case: Schema) -> str:
    request = compact(case["request"]).replace("'", "'\\''")
    title = f"Example{f' {number}' if number > 1 else ''}{': ' + case['title'] if 'title' in case else ''}"
    answer = json.dumps(case["response"], indent=2, ensure_ascii=False)
    if len(compact(case["response"])) < 100:
        answer = compact(case["response"])
    return f"{title}\n\n```console\n$ curl --json '{request}' {URL}/{name}\n{answer}\n```"


def section(name: str, manifest: Schema) -> str:
    defs = manifest.get("$defs", {})
    errors = [f"| `{code}` | {cell(text)} |" for code, text in sorted(manifest.get("errors", {}).items())]
    parts = [
        f"## {name}",
        manifest["title"].rstrip(".") + ".",
        manifest.get("description", ""),
        facts(manifest),
        table("Request", manifest["request"], {**defs, **manifest["request"].get("$defs", {})}),
        table("Response", manifest["response"], {**defs, **manifest["response"].get("$defs", {})}),
        "| error | cause and remedy |\n|---|---|\n" + "\n".join(errors) if errors else "",
        steps(manifest),
        *(example(name, number, case) for number, case in enumerate(manifest.get("examples", ()), 1)),
    ]
    return "\n\n".join(part for part in parts if part)


def document(schemas: Path) -> str:
    paths = sorted(schemas.glob("*.json"), key=lambda path: path.stem)
    sections = [section(path.stem, json.loads(path.read_text())) for path in paths]
    return "\n\n".join([HEAD.rstrip(), *sections]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is stale")
    parser.add_argument("--schemas", type=Path, default=ROOT / "schemas")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/commands.md")
    args = parser.parse_args()
    text = document(args.schemas)
    if not args.check:
        args.output.write_text(text)
    elif not args.output.exists() or args.output.read_text() != text:
        sys.exit(f"{args.output} is out of date with {args.schemas}; run make docs")


if __name__ == "__main__":
    main()
