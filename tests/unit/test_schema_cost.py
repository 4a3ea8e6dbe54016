import math

import pytest

from agent_router.schema import cost
from agent_router.schema.cost import MOST_IN_PLACE, weight
from agent_router.schema.validation import schema_problems


def doubling(steps: int, **last) -> dict:
    """Each definition refers twice to the next one."""
    twice = {f"n{number}": {"allOf": [{"$ref": f"#/$defs/n{number + 1}"}] * 2} for number in range(steps)}
    return {"$defs": {**twice, f"n{steps}": last}, "$ref": "#/$defs/n0"}


def test_weight_grows_with_the_schemas_that_a_document_is_compared_with():
    assert (
        weight({}) < weight({"properties": {"a": {}, "b": {}}}) < weight({"properties": {"a": {}, "b": {"items": {}}}})
    )
    assert weight({"enum": [*range(1000)]}) > 1000
    assert weight(doubling(11)) > 2 * weight(doubling(10)) > 2**10


@pytest.mark.parametrize("schema", [
    {"properties": {"child": {"$ref": "#"}}},
    {"$defs": {"n": {"oneOf": [{"items": {"$ref": "#/$defs/n"}}, {"type": "null"}]}}, "$ref": "#/$defs/n"},
    {"unevaluatedProperties": False}, {"items": {"unevaluatedItems": False}}, {"$dynamicRef": "#"},
    {"$defs": {f"n{n}": {"items": {"$ref": f"#/$defs/n{n + 1}"}} for n in range(500)} | {"n500": {}},
     "$ref": "#/$defs/n0"},
])  # fmt: skip
def test_what_cannot_be_weighed_is_infinitely_heavy(schema):
    assert weight(schema) == math.inf


@pytest.mark.parametrize("schema", [
    {"$ref": "#"},
    {"allOf": [{"not": {"$ref": "#"}}]},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"if": {"$ref": "#/$defs/a"}}}, "items": {"$ref": "#/$defs/a"}},
    {"dependentSchemas": {"a": {"$ref": "#"}}},
])  # fmt: skip
def test_a_schema_that_no_check_would_ever_finish_is_refused(schema):
    (problem,) = schema_problems(schema, "$.request")
    assert problem.path == "$.request"
    assert "leads back to itself" in problem.message
    assert "no check would end" in problem.message


def test_a_few_lines_that_stand_for_billions_of_schemas_are_refused():
    assert list(cost.problems(doubling(10), "$")) == []
    (problem,) = schema_problems(doubling(60), "$.response")
    assert f"more than {MOST_IN_PLACE} schemas" in problem.message


def test_recursion_into_the_document_is_fine():
    assert schema_problems({"properties": {"child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}, "$") == []
