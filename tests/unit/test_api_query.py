import pytest

from agent_router.api import query as queries
from agent_router.schema.problems import RequestError

CALL = ("wait", "plan", "id", "timeout_s", "agent_token")


@pytest.mark.parametrize(("text", "query"), [
    ("", {}), ("wait=true", {"wait": "true"}), ("wait=true&", {"wait": "true"}), ("%70lan=true", {"plan": "true"}),
    ("id=a%20b+c&agent_token=x%26y", {"id": "a b c", "agent_token": "x&y"}),
])  # fmt: skip
def test_a_query_is_understood(text, query):
    assert queries.parsed(text, CALL) == query


@pytest.mark.parametrize(("text", "sentence"), [
    ("plan", "plan has no value; write plan=VALUE or leave it out"), ("plan=", "plan has no value"),
    ("wait=true&plan", "plan has no value"), ("agent_token=", "agent_token has no value"),
    ("Plan=true", "'Plan' is unknown here; did you mean plan?"), ("plna=true", "did you mean plan?"),
    ("timeout=3", "did you mean timeout_s?"), (" plan=true", "' plan' is unknown here; did you mean plan?"),
    ("dry_run=true", "'dry_run' is unknown here; this call takes wait, plan, id, timeout_s, agent_token"),
    ("=true", "'' is unknown here"), ("plan%00=true", "is unknown here"), ("plan[]=true", "is unknown here"),
    ("plan=true&plan=false", "plan is given twice"), ("plan=true&%70lan=true", "plan is given twice"),
    ("wait=true&wait=true", "wait is given twice"), ("agent_token=a&agent_token=a", "agent_token is given twice"),
])  # fmt: skip
def test_a_query_that_may_mean_something_else_is_refused(text, sentence):
    with pytest.raises(RequestError) as refused:
        queries.parsed(text, CALL)
    assert (refused.value.status, refused.value.code) == (400, "query_invalid")
    assert sentence in refused.value.message


@pytest.mark.parametrize(("text", "value"), [
    ("true", True), ("True", True), ("1", True), ("yes", True), ("false", False), ("0", False), ("no", False),
])  # fmt: skip
def test_flags(text, value):
    assert queries.flag({"wait": text}, "wait") is value
    assert queries.flag({"nowait": text}, "wait") is None


@pytest.mark.parametrize("text", ["maybe", "2", "\0", "true;wait=true", "on"])
def test_flags_that_are_none(text):
    with pytest.raises(RequestError, match="wait must be true or false"):
        queries.flag({"wait": text}, "wait")


@pytest.mark.parametrize(("query", "options"), [
    ({}, {}), ({"wait": "true"}, {}), ({"plan": "no"}, {}),
    ({"id": "my-id", "timeout_s": "2.5", "plan": "yes"}, {"id": "my-id", "timeout_s": 2.5, "action": "plan"}),
])  # fmt: skip
def test_options_of_a_call(query, options):
    assert queries.call_options(query) == options


@pytest.mark.parametrize(("query", "code"), [
    ({"timeout_s": "soon"}, "timeout_invalid"), ({"plan": "perhaps"}, "query_invalid"),
])  # fmt: skip
def test_queries_that_make_no_sense(query, code):
    with pytest.raises(RequestError) as refused:
        queries.call_options(query)
    assert refused.value.code == code
