"""The OpenAPI document is valid, and tells of every plugin that is ready."""

import copy

import pytest
from jsonschema import Draft202012Validator

from tests.support.agent import Agent, Drop


@pytest.fixture(scope="module")
def document(shared_agent: Agent) -> dict:
    return shared_agent.get("/openapi.json")


def test_the_document_is_valid(document: dict):
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")
    assert document["openapi"].startswith("3.1")
    assert list(validator.OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_an_error_in_the_document_would_be_seen(document: dict):
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")
    document = {**document, "paths": {"/v1/status": copy.deepcopy(document["paths"]["/v1/status"])}}
    document["paths"]["/v1/status"]["get"]["responses"]["200"] = {"no": "description"}
    assert list(validator.OpenAPIV31SpecValidator(document).iter_errors())


def test_every_ready_method_is_in_it_with_both_schemas(agent: Agent, document: dict):
    ready = {name for name, entry in agent.methods().items() if entry["state"] == "ready"}
    told = {path.removeprefix("/v1/methods/") for path in document["paths"] if path.startswith("/v1/methods/")}
    assert told - {"{name}"} == ready
    assert "bad.no_interpreter" not in told
    schemas = document["components"]["schemas"]
    manifest = agent.get("/v1/methods/test.problems")["manifest"]
    assert schemas["test.problems.request"] == manifest["request"]
    for name in ready:
        Draft202012Validator.check_schema(schemas[f"{name}.response"])


def test_references_inside_a_schema_are_moved_with_it(agent: Agent, drop: Drop):
    size = {"type": "integer", "minimum": 0}
    request = {"type": "object", "properties": {"size": {"$ref": "#/$defs/size"}, "self": {"$ref": "#"}}}
    shared = {"response": {"$ref": "#/$defs/size"}, "$defs": {"size": size}}
    drop("dropped.refs", "#!/bin/sh\necho 3\n", request=request, **shared)
    shown = agent.get("/openapi.json")["components"]["schemas"]
    place = "#/components/schemas/dropped.refs.request"
    assert shown["dropped.refs.request"]["properties"]["size"]["$ref"] == f"{place}/$defs/size"
    assert shown["dropped.refs.request"]["properties"]["self"]["$ref"] == place
    assert shown["dropped.refs.request"]["$defs"]["size"] == size
    assert agent.post("dropped.refs", {"size": 1, "self": {}})["command_result"] == 3


def test_every_route_of_the_document_answers(agent: Agent, document: dict):
    id = agent.post("lock.none")["id"]
    for path, operations in document["paths"].items():
        if "get" in operations:
            place = path.replace("{id}", id).replace("{name}", "test.echo")
            reply = agent.request("GET", place)
            assert reply.status == 200, (place, reply)


def test_steps_are_made_from_manifests(agent: Agent, drop: Drop):
    step = {"interface": "deploy", "step": "wipe_it", "phases": ["clean", "deploy"], "priority": {"clean": 7}}
    disk = {"type": "string", "description": "Which"}
    request = {"type": "object", "required": ["disk"], "properties": {"disk": disk}}
    drop("dropped.step", "#!/bin/sh\necho '{}'\n", effects="destroy", request=request, steps=[step])
    steps = agent.get("/v1/steps")
    [clean] = [item for item in steps["clean"] if item["method"] == "dropped.step"]
    [deploy] = [item for item in steps["deploy"] if item["method"] == "dropped.step"]
    assert (clean["step"], clean["priority"], deploy["priority"]) == ("wipe_it", 7, 0)
    assert clean["argsinfo"] == {"disk": {"description": "Which", "required": True}}
