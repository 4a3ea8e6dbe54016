"""plugins.d, schemas, tests/plugins and docs/commands.md tell one story."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ROOT / "plugins.d"
SCHEMAS = ROOT / "schemas"
META = ROOT / "agent_router/catalogue/manifest.schema.json"

NAMES = sorted(path.stem for path in SCHEMAS.glob("*.json"))
# Codes that the helper library uses by itself.
HELPER_CODES = {"action_unsupported", "bad_request", "plugin_defect", "tool_failed", "tool_missing"}

every_plugin = pytest.mark.parametrize("name", NAMES)


def manifest(name: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def schema_of(name: str, side: str) -> dict[str, Any]:
    """The request or response schema, with the $defs that both sides share."""
    whole = manifest(name)
    shared = {**whole.get("$defs", {}), **whole[side].get("$defs", {})}
    return {**whole[side], "$defs": shared} if shared else whole[side]


def problems(schema: dict[str, Any], document: Any) -> list[str]:
    errors = Draft202012Validator(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in errors]


def codes_raised(source: str) -> set[str]:
    """Error codes that the text of a plugin names: fail CODE in bash, plugin.Failed("CODE") in Python."""
    bash = r"^[^#\n]*?\b(?:fail|invalid|refuse|retry|incompatible) ([a-z][a-z0-9_]*) "
    python = r"\b(?:Failed|InvalidRequest|Refused|Retry|Incompatible)\(\s*[\"']([a-z][a-z0-9_]*)[\"']"
    return set(re.findall(python if "python3" in source[:30] else bash, source, re.MULTILINE))


def test_every_plugin_has_a_schema_and_every_schema_a_plugin():
    assert NAMES, "there is no plugin at all"
    # A test that imports a Python plugin leaves byte code beside it.
    assert sorted(set(os.listdir(PLUGINS)) - {"__pycache__"}) == NAMES
    assert sorted(os.listdir(SCHEMAS)) == [f"{name}.json" for name in NAMES]


@every_plugin
def test_name_follows_the_protocol(name):
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}", name)
    assert len(name) <= 100


@every_plugin
def test_plugin_is_an_executable_file_and_the_schema_is_not(name):
    assert os.access(PLUGINS / name, os.X_OK)
    assert not (PLUGINS / name).is_symlink(), "a wheel cannot carry links: write a two-line shim"
    assert (SCHEMAS / f"{name}.json").stat().st_mode & 0o111 == 0


@every_plugin
def test_python_plugins_have_the_shebang_that_the_runner_knows(name):
    first = (PLUGINS / name).read_bytes().split(b"\n", 1)[0]
    if b"python" in first:
        assert first == b"#!/usr/bin/env python3"


@every_plugin
def test_manifest_is_valid(name):
    assert problems(json.loads(META.read_text()), manifest(name)) == []


@every_plugin
@pytest.mark.parametrize("side", ["request", "response"])
def test_schema_is_a_self_contained_schema(name, side):
    schema = schema_of(name, side)
    Draft202012Validator.check_schema(schema)
    references = re.findall(r'"\$ref": "([^"]*)"', json.dumps(schema))
    assert [reference for reference in references if not reference.startswith("#")] == []


@every_plugin
@pytest.mark.parametrize("side", ["request", "response"])
def test_every_property_is_described(name, side):
    properties = schema_of(name, side).get("properties", {})
    silent = [key for key, part in properties.items() if not {"description", "$ref"} & part.keys()]
    assert silent == [], f"{side} of {name} does not say what these are"


@every_plugin
def test_required_keys_are_declared(name):
    for side in ("request", "response"):
        schema = schema_of(name, side)
        if schema.get("additionalProperties") is False:
            assert set(schema.get("required", ())) <= set(schema.get("properties", {}))


@every_plugin
def test_examples_are_valid_on_both_sides(name):
    examples = manifest(name).get("examples", [])
    assert examples, f"{name} shows no example"
    for number, example in enumerate(examples):
        for side in ("request", "response"):
            assert problems(schema_of(name, side), example[side]) == [], f"example {number}, {side}"


@every_plugin
def test_errors_that_the_plugin_raises_are_in_its_manifest(name):
    declared = set(manifest(name).get("errors", {}))
    assert codes_raised((PLUGINS / name).read_text()) - HELPER_CODES <= declared


def test_codes_are_found_in_both_languages():
    source = "#!/bin/bash\n# fail not_this one\n[[ x ]] || fail device_busy text\n"
    assert codes_raised(source) == {"device_busy"}
    source = '#!/usr/bin/env python3\nraise plugin.Refused(\n    "disk_mounted", "x")\n'
    assert codes_raised(source) == {"disk_mounted"}


@every_plugin
def test_plugin_has_its_test_file(name):
    assert (ROOT / "tests/plugins" / f"test_{name.replace('.', '_')}.py").is_file()


def code_block(document: str, language: str) -> str:
    text = (ROOT / document).read_text()
    found = re.search(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    assert found, f"{document} shows no {language}"
    return textwrap.dedent(found[1])


def test_the_plugin_in_the_readme_works(tmp_path):
    shown = json.loads(code_block("README.md", "json"))
    assert problems(json.loads(META.read_text()), shown) == []
    script = tmp_path / "net.link"
    script.write_text(code_block("README.md", "bash"))
    environ = {**os.environ, "AGENT_LIB": str(ROOT / "agent_router/plugin"), "PARAM_name": "lo"}
    done = subprocess.run(["bash", script], env=environ, capture_output=True, text=True, check=True)
    assert problems(shown["response"], json.loads(done.stdout)) == []
    for example in shown["examples"]:
        assert problems(shown["request"], example["request"]) == []
        assert problems(shown["response"], example["response"]) == []


def test_contributing_shows_the_plugin_of_the_readme():
    assert code_block("CONTRIBUTING.md", "bash") == code_block("README.md", "bash")


def commands_md(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(ROOT / "tools/commands_md.py"), *args]
    return subprocess.run(program, cwd=cwd, capture_output=True, text=True, check=False)


def test_commands_md_is_up_to_date():
    done = commands_md("--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_commands_md_is_noticed(tmp_path):
    stale = tmp_path / "commands.md"
    stale.write_text("old\n")
    done = commands_md("--check", "--output", str(stale))
    assert done.returncode == 1
    assert "make docs" in done.stderr
