"""What every bundled manifest promises, whatever the plugin does."""

import json

import jsonschema
import pytest
from plugin_harness import PLUGINS, REPO, manifest, problems

NAMES = sorted(path.stem for path in (REPO / "schemas").glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_manifest_is_valid(name):
    schema = json.loads((REPO / "agent_router/core/manifest.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(manifest(name))
    for side in ("request", "response"):
        jsonschema.Draft202012Validator.check_schema(manifest(name)[side])


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_true(name):
    examples = manifest(name)["examples"]
    assert examples
    for example in examples:
        assert problems(name, "request", example["request"]) == []
        assert problems(name, "response", example["response"]) == []


@pytest.mark.parametrize("name", NAMES)
def test_request_properties_are_described_and_closed(name):
    request = manifest(name)["request"]
    assert request["additionalProperties"] is False
    assert all(rule.get("description") for rule in request["properties"].values())


@pytest.mark.parametrize("name", NAMES)
def test_plugin_is_executable(name):
    assert (PLUGINS / name).stat().st_mode & 0o777 == 0o755
