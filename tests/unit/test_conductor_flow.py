"""What a flow is made of; how one runs stands in tests/integration/test_flow.py."""

import pytest

from agent_router.conductor import flow
from agent_router.schema.problems import RequestError


def test_the_commands_in_their_order():
    found = flow.expand({"flow": [{"b.c": {"x": 1}}, {"a.b": {}}, {"b.c": {}}]})
    assert found.commands == [("b.c", {"x": 1}), ("a.b", {}), ("b.c", {})]
    assert found.path == "$.flow"


@pytest.mark.parametrize("params", [{}, *({"flow": value} for value in (
    None, {}, [1], [{}], [{"a.b": 1}], [{"a.b": {}, "c.d": {}}]))])  # fmt: skip
def test_what_has_not_the_form_is_left_to_the_schema(params):
    assert flow.expand(params) is None


def test_no_flow_in_a_flow():
    with pytest.raises(RequestError, match="cannot contain a flow") as refused:
        flow.expand({"flow": [{"a.b": {}}, {"flow.start_flow": {"flow": []}}]})
    assert refused.value.problems[0].path == "$.flow[1]"
