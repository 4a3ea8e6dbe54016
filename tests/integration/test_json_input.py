"""Bad requests get a 400 that says what and where; good ones reach the plugin exactly as they were sent."""

import json

import pytest

from tests.support.agent import Agent, Reply

BOTH = pytest.mark.parametrize("echo", ["test.echo", "test.echo_python"])


def post(agent: Agent, body: bytes | str, path: str = "/v1/commands/?wait=true") -> Reply:
    return agent.request("POST", path, body.encode() if isinstance(body, str) else body)


def command(params: str, name: str = "test.echo") -> str:
    return f'{{"name": "{name}", "params": {params}}}'


def nested(depth: int) -> str:
    return '{"a": ' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "not JSON"),
        ("   ", "not JSON"),
        ("{", "line 1 column"),
        ('{"name": "test.echo",}', "line 1"),
        ("{} {}", "Extra data"),
        (command("NaN"), "NaN"),
        (command('{"a": Infinity}'), "Infinity"),
        (command('{"a": [-Infinity]}'), "-Infinity"),
        (command('{"a": 1e400}'), "1e400 is too large"),
        (command('{"a": -1e400}'), "-1e400 is too large"),
        (command('{"a": 1, "a": 2}'), "'a' stands twice"),
        ('{"name": "test.echo", "name": "bad.never_ends", "params": {}}', "'name' stands twice"),
        (command(nested(70)), "deeper than 64"),
        (command('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"), "deeper than 64"),
        ("[" * 5_000_000, "deeper than 64"),
        (command('{"a": ' + "9" * 5000 + "}"), "4300 digits"),
        (command(r'{"a": "\ud800"}'), "surrogate"),
        (command(r'{"\udfff": 1}'), "surrogate"),
        (command(r'{"a": "\ud83d\u0041"}'), "surrogate"),
        (command('{"a": "\t"}'), "control character"),
        (command("{'a': 1}"), "not JSON"),
        (command('{"a": 01}'), "not JSON"),
        (command('{"a": 0x10}'), "not JSON"),
        (command("{} // comment"), "not JSON"),
        (b'{"name": "test.echo", "params": {"a": "\xff"}}', "not UTF-8: byte 39 is 0xff"),
        ('{"name": "test.echo", "params": {}}'.encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"name": "test.echo", "params": {"a": "\xed\xa0\x80"}}', "not UTF-8"),
        (b"\0\0\0\0", "not JSON"),
    ],
)
def test_text_that_is_no_json_is_refused_with_the_place(agent: Agent, body, words):
    for path in ("/v1/commands/?wait=true", "/v1/methods/test.echo"):
        if isinstance(body, str) and path.endswith("test.echo") and not body.strip():
            continue  # there an empty body is an empty request
        reply = post(agent, body, path)
        assert (reply.status, reply.problem["code"]) == (400, "json_invalid")
        assert words in reply.problem["faultstring"], reply.problem["faultstring"][:300]
        assert len(reply.body) < 2000


@pytest.mark.parametrize("body", ["null", "[]", '"text"', "17", "true"])
@pytest.mark.parametrize("path", ["/v1/commands/", "/v1/methods/test.echo"])
def test_json_that_is_no_object_is_refused(agent: Agent, path, body):
    reply = post(agent, body, path)
    assert (reply.status, reply.problem["code"]) == (400, "request_invalid")
    assert "object" in reply.problem["message"]


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ("{}", ["$.name", "$.params"]),
        ('{"name": 1, "params": []}', ["$.name", "$.params"]),
        ('{"name": null, "params": null, "x": 1, "y": 2}', ["$.name", "$.params", "$.x", "$.y"]),
        ('{"name": "nodot", "params": {}}', ["$.name"]),
        ('{"name": "test.echo", "params": {}, "wait": true}', ["$.wait"]),
    ],
)
def test_all_that_is_wrong_with_a_command_is_listed(agent: Agent, body, paths):
    reply = post(agent, body)
    assert reply.status == 400
    assert [problem["path"] for problem in reply.problem["problems"]] == paths


def test_all_that_is_wrong_with_parameters_is_listed_with_json_paths(agent: Agent):
    params = '{"extra": 1, "name": 5, "disks": [{"size": 1}, {"size": -1}, {}, {"size": "x"}, 7]}'
    for reply in (post(agent, command(params, "test.problems")), post(agent, params, "/v1/methods/test.problems")):
        assert (reply.status, reply.problem["code"]) == (400, "request_invalid")
        found = {problem["path"]: problem["message"] for problem in reply.problem["problems"]}
        assert set(found) == {"$", "$.name", "$.disks[1].size", "$.disks[2]", "$.disks[3].size", "$.disks[4]"}
        assert "'extra' was unexpected" in found["$"]
        assert "less than the minimum of 0" in found["$.disks[1].size"]


def test_very_many_problems_are_cut_off(agent: Agent):
    params = {"name": "x", "disks": [{"size": -1}] * 500}
    problems = agent.send("test.problems", params).problem["problems"]
    assert 50 <= len(problems) <= 51
    assert "not listed" in problems[-1]["message"]


def test_a_missing_params_key_is_not_an_empty_request(agent: Agent):
    reply = post(agent, '{"name": "lock.none"}')
    assert [problem["path"] for problem in reply.problem["problems"]] == ["$.params"]


def test_an_unknown_method_names_the_nearest(agent: Agent):
    for reply in (agent.send("test.ecko", {}), agent.request("GET", "/v1/methods/test.ecko")):
        assert (reply.status, reply.problem["code"]) == (404, "method_unknown")
        assert "test.echo" in reply.problem["message"]
    assert "/v1/methods" in agent.send("zzzz.qqqqqqqqq", {}).problem["message"]


EXACT = [
    '{"n": 123456789012345678901234567890}',
    '{"n": ' + "9" * 4300 + "}",
    '{"n": -9007199254740993}',
    '{"n": 0.1000000000000000055511151231257827}',
    '{"n": 3.14159265358979323846264338327950288}',
    '{"n": 1e-7}',
    '{"n": -0.0}',
    '{"n": [true, false, null]}',
    r'{"s": "\ud83d\udd11 \u0000 \u001f \" \\ \/ \b"}',
    '{"ключ": "日本 🔑"}',
    '{"": {"": []}}',
    nested(62),
]


@BOTH
@pytest.mark.parametrize("params", EXACT, ids=lambda text: text[:24])
def test_what_is_sent_reaches_the_plugin_and_comes_back_exactly(agent: Agent, echo, params):
    for reply in (post(agent, command(params, echo)), post(agent, params, f"/v1/methods/{echo}")):
        assert reply.status == 200, reply
        text = reply.body.decode()

        def exact(source: str) -> object:
            return json.loads(source, parse_float=str, parse_int=str)

        result = exact(text)
        if "command_result" in text:
            result = result["command_result"]
        if "e-7" not in params and "-0.0" not in params:
            assert result == exact(params)
        else:
            assert json.loads(text)["command_result" if "command_result" in text else "n"] in (
                json.loads(params),
                json.loads(params)["n"],
            )


def test_a_request_over_the_limit_is_refused_before_it_is_there(agent: Agent):
    head = b"POST /v1/commands/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
    answer = agent.raw(head + b"{")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"faultstring"' in answer
    assert b"max_request_mib" in answer


def test_a_large_request_within_the_limit_is_fine(agent: Agent):
    data = "x" * 7_500_000
    assert agent.post("test.echo", {"data": data})["command_result"] == {"data": data}
    assert agent.send("test.echo", {"data": "x" * (8 << 20)}).status == 413


def test_one_bad_request_poisons_nothing(agent: Agent):
    """Stock agents answer 500 to GET /v1/commands/ for ever after some of these."""
    for body in ("{", command("[]"), command('{"a": NaN}'), '{"name": [], "params": {}}', command("{}", "no.such")):
        post(agent, body)
    agent.post("bad.not_utf8")
    agent.post("bad.answers_wrong")
    agent.post("test.echo", {"text": '\u2028 ",\n{"id":"x"} \u0085'})
    listed = agent.commands()
    assert [item["command_name"] for item in listed[-3:]] == ["not_utf8", "answers_wrong", "echo"]
    assert all(agent.command(item["id"]) == item for item in listed[-3:])


@pytest.mark.parametrize("id", ["../x", "a/b", "", ".", "x" * 65, "ü", "a b", "-x", 'a"b', "a\n"])
def test_an_id_that_is_none_is_refused(agent: Agent, id):
    reply = agent.send("lock.none", {}, id=id, wait=True)
    assert (reply.status, reply.problem["code"]) == (400, "id_invalid" if id else "query_invalid")


@pytest.mark.parametrize("query", ["wait=maybe", "wait=", "plan=2", "wait=true&wait=x"])
def test_a_query_that_makes_no_sense_is_refused(agent: Agent, query):
    reply = post(agent, command("{}", "lock.none"), f"/v1/commands/?{query}")
    assert reply.status == 400, reply
    assert reply.problem["code"] == "query_invalid"
