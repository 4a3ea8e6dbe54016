import pytest

from agent_router.api import query as queries
from agent_router.schema.problems import RequestError


@pytest.mark.parametrize(("query", "value"), [
    ("", None), ("x=1", None), ("nowait=true", None), ("wait=true", True), ("a=b&wait=True", True), ("wait=1", True),
    ("wait=yes", True), ("wait=false", False), ("wait=0", False), ("wait=no", False), ("wait=true&wait=false", False),
])  # fmt: skip
def test_flags(query, value):
    assert queries.flag(query, "wait") is value


@pytest.mark.parametrize("query", ["wait=", "wait=maybe", "wait=2", "wait=%00"])
def test_flags_that_are_none(query):
    with pytest.raises(RequestError, match="wait must be true or false"):
        queries.flag(query, "wait")


@pytest.mark.parametrize(("query", "text"), [
    ("", ""), ("id=a", "a"), ("x=1&id=a%20b+c", "a b c"), ("id=a&id=b", "b"), ("my_id=a", ""), ("id=", ""),
])  # fmt: skip
def test_values(query, text):
    assert queries.value(query, "id") == text


@pytest.mark.parametrize(("query", "options"), [
    ("", {}), ("wait=true", {"id": ""}),
    ("id=my-id&timeout_s=2.5&plan=yes", {"id": "my-id", "timeout_s": 2.5, "action": "plan"}),
    ("plan=no", {"id": ""}),
])  # fmt: skip
def test_options_of_a_call(query, options):
    assert queries.call_options(query) == options


@pytest.mark.parametrize(("query", "code"), [("timeout_s=soon", "timeout_invalid"), ("plan=perhaps", "query_invalid")])
def test_queries_that_make_no_sense(query, code):
    with pytest.raises(RequestError) as refused:
        queries.call_options(query)
    assert refused.value.code == code
