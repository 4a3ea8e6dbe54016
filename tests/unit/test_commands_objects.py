import json
import random
import types

import pytest

from agent_router.api import openapi
from agent_router.catalogue import listing as catalogue
from agent_router.catalogue.method import Method
from agent_router.commands import objects
from agent_router.commands.objects import LATEST, params_text
from agent_router.ipc.state import SEPARATOR
from agent_router.schema.jsontext import parse
from agent_router.schema.problems import RequestError
from tests.support.seeds import seeds

SECRETS = {"s": ["hidden"]}


class FakeDispatcher:
    """Remembers what it was asked to prepare."""

    def prepare(self, name, params, **options):
        return name, params, options

    def secrets_of(self, id):
        return SECRETS.get(id, [])


DISPATCHER = FakeDispatcher()


def refusal(function, *args):
    with pytest.raises(RequestError) as caught:
        function(*args)
    return caught.value


# ---- the body of POST /v1/commands/


def test_a_body_becomes_a_call():
    body = b'{"name": "a.b", "params": {"x":  1.0}}'
    options = {"id": "my-id", "timeout_s": 2.5, "action": "plan"}
    assert objects.call_from_body(DISPATCHER, body, options) == (
        "a.b",
        {"x": 1.0},
        {"text": b'{"x":  1.0}', "id": "my-id", "timeout_s": 2.5, "action": "plan"},
    )
    assert objects.call_from_body(DISPATCHER, body, {}) == ("a.b", {"x": 1.0}, {"text": b'{"x":  1.0}'})


@pytest.mark.parametrize(("body", "paths"), [
    (b"{}", ["$.name", "$.params"]),
    (b'{"name": 5, "params": []}', ["$.name", "$.params"]),
    (b'{"name": "a", "params": {}}', ["$.name"]),
    (b'{"name": "a.b"}', ["$.params"]),
    (b'{"name": "a.b", "params": null}', ["$.params"]),
    (b'{"name": "a.b", "params": {}, "wait": true, "id": 5}', ["$.wait", "$.id"]),
])  # fmt: skip
def test_every_problem_of_a_body_is_told(body, paths):
    error = refusal(objects.call_from_body, DISPATCHER, body, {})
    assert (error.status, error.code) == (400, "request_invalid")
    assert [problem.path for problem in error.problems] == paths
    assert all(problem.message in error.message for problem in error.problems)


@pytest.mark.parametrize(("body", "code"), [
    (b"", "json_invalid"), (b"[", "json_invalid"), (b"\xff", "json_invalid"), (b'{"a": NaN}', "json_invalid"),
    (b'{"name": "a.b", "name": "c.d", "params": {}}', "json_invalid"), (b"[]", "request_invalid"),
    (b"5", "request_invalid"),
])  # fmt: skip
def test_bodies_that_are_no_object(body, code):
    error = refusal(objects.call_from_body, DISPATCHER, body, {})
    assert (error.status, error.code) == (400, code)
    assert error.as_json()["faultstring"] == error.message


@pytest.mark.parametrize(("body", "text"), [
    (b'{"name":"a.b","params":{}}', b"{}"),
    (b' { "params" : {"a": [1 ,2]} , "name" : "a.b" } \n', b'{"a": [1 ,2]}'),
    (b'{"name":"a.b","params":{"a":1,"name":"c.d"}}', b'{"a":1,"name":"c.d"}'),
    (b'{"params":{"a":{"name":"c.d"}},"name":"a.b"}', b'{"a":{"name":"c.d"}}'),
    (b'{"name":"a.b","params":{"x":",\\"name\\":\\"c.d\\"}"}}', b'{"x":",\\"name\\":\\"c.d\\"}"}'),
    (b'{"name":"a.b","params":{"params":{}}}', b'{"params":{}}'),
    (b'{"\\u006eame":"a.b","params":{}}', None),
    (b'{"params":{},"\\u006eame":"a.b"}', None),
])  # fmt: skip
def test_the_text_of_params(body, text):
    assert params_text(body) == text


@seeds(500)
def test_the_text_of_params_is_params_or_not_found(seed):
    """Whatever the plugin gets is exactly what was validated."""
    source = random.Random(seed)

    def value(depth):
        if depth and source.random() < 0.7:
            keys = source.sample(["name", "params", "a", '"}', ',"name":"c.d"}', " "], source.randrange(4))
            return {key: value(depth - 1) for key in keys}
        return source.choice(["a.b", '"}', ',"name":"a.b"}', "}", 5, None, [], [{"name": "a.b"}], "\\", "x" * 500])

    params = value(4)
    pairs = [("name", "a.b"), ("params", params if isinstance(params, dict) else {})]
    source.shuffle(pairs)
    separators = source.choice([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
    body = json.dumps(dict(pairs), separators=separators, indent=source.choice([None, 1])).encode()
    text = params_text(body)
    assert text is not None
    assert parse(text) == dict(pairs)["params"]


# ---- answers


@pytest.mark.parametrize(("head", "status", "code", "words"), [
    ({"state": "busy", "by": "disk.wipe", "holder": "h1"}, 409, "busy", "Agent is busy: executing command wipe"),
    ({"state": "other", "id": "x"}, 409, "id_taken", "The id x belongs to a command of another method"),
    ({"state": "unknown", "id": "x" * 99}, 404, "command_unknown", f"There is no command '{'x' * 64}'"),
])  # fmt: skip
def test_answers_that_are_refusals(head, status, code, words):
    error = refusal(objects.from_answer, DISPATCHER, head, b"")
    assert (error.status, error.code) == (status, code)
    assert words in error.message


def test_the_one_who_holds_the_lock_is_named():
    head = {"state": "busy", "by": "disk.wipe", "holder": "h1"}
    assert "disk.wipe (command h1)" in refusal(objects.from_answer, DISPATCHER, head, b"").problems[0].message


def test_an_ended_command_is_answered_as_it_is():
    assert objects.from_answer(DISPATCHER, {"state": "ended"}, b"record") == b"record"


def summary(id, started_at, **more):
    plain = {"phase": "running", "progress": None, "warnings": [], "critical": False}
    return {"id": id, "name": "a.b.c", "started_at": started_at, **plain, **more}


def test_a_running_command():
    head = summary(
        "s",
        1.23456789,
        state="running",
        phase="terminating",
        critical=True,
        progress={"done": 1, "message": "hidden"},
        warnings=["hidden"],
    )
    assert json.loads(objects.from_answer(DISPATCHER, head, b"")) == {
        "id": "s", "name": "a.b.c", "command_name": "b.c", "command_status": "RUNNING", "command_error": None,
        "command_result": None, "started_at": 1.234568, "progress": {"done": 1, "message": "***"}, "warnings": ["***"],
        "critical": True, "phase": "terminating",
    }  # fmt: skip
    plain = summary("p", 1.0)
    assert not {"phase", "critical", "progress", "warnings"} & set(json.loads(objects.running_object(plain, [])))


@pytest.fixture
def listed(tmp_path):
    """`listed(ended, running)`: the ids of the listing; both are (id, start) pairs, `ended` in order of the ends."""

    def make(ended, running, cut=0, generation=None):
        path = tmp_path / "history"
        path.write_bytes(
            b"".join(b'{"id":"%s","started_at":%f,"name":"a.b"}' % (id.encode(), at) + SEPARATOR for id, at in ended)
        )
        info = path.stat()
        place = {"path": str(path), "size": info.st_size - cut, "generation": generation or info.st_ino, "late": []}
        head = {"history": place, "running": [summary(id, at) for id, at in running]}
        return [item["id"] for item in json.loads(b"".join(objects.listing(DISPATCHER, head)))["commands"]]

    return make


@pytest.mark.parametrize(("ended", "running", "order"), [
    ([], [], []),
    ([("a", 1)], [], ["a"]),
    ([], [("a", 1)], ["a"]),
    ([("a", 1), ("b", 2)], [("c", 3)], ["a", "b", "c"]),
    ([("b", 2), ("a", 1)], [], ["a", "b"]),
    ([("c", 3)], [("a", 1), ("b", 2)], ["a", "b", "c"]),
    ([("d", 4), ("a", 1)], [("b", 2), ("c", 3)], ["a", "b", "c", "d"]),
])  # fmt: skip
def test_the_newest_by_its_start_comes_last(listed, ended, running, order):
    assert listed(ended, running) == order


@pytest.mark.parametrize("count", [LATEST - 1, LATEST, LATEST + 1, LATEST + 2, 3 * LATEST])
def test_a_long_list_is_complete_and_ends_with_the_newest(listed, count):
    ended = [(str(number), float(number)) for number in range(count)]
    ended[-1], ended[-200] = ended[-200], ended[-1]
    found = listed(ended, [("new", 1e6), ("old", 0.5)])
    assert len(found) == count + 2
    assert set(found) == {id for id, _ in ended} | {"new", "old"}
    assert found[-2:] == [str(count - 1), "new"]


def test_a_history_that_was_replaced_or_is_gone(listed, tmp_path):
    assert listed([("a", 1), ("b", 2)], [("c", 3)], cut=5, generation=1) == ["a", "b", "c"]
    place = {"path": str(tmp_path / "gone"), "size": 5, "generation": 1, "late": []}
    assert b"".join(objects.listing(DISPATCHER, {"history": place, "running": []})) == b'{"commands":[]}'


# ---- documents


@pytest.fixture
def method(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "a.b").write_text("#!/bin/sh\n")
    (tmp_path / "a.b").chmod(0o700)
    reference = {"$ref": "#/$defs/size"}
    manifest = {
        "protocol": 1, "title": "A test", "version": "3", "effects": "destroy", "errors": {"broken": "buy a new one"},
        "$defs": {"size": {"type": "integer"}}, "response": reference, "supports": ["plan"], "timeout_s": 7,
        "request": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                    "properties": {"a": reference, "child": {"$ref": "#"}}},
    }  # fmt: skip
    (tmp_path / "a.b.json").write_text(json.dumps(manifest))
    made = Method("a.b", [str(tmp_path / "a.b")], [str(tmp_path / "a.b.json")])
    made.refresh("/bin")
    assert made.state == "ready", made.reason
    return made


def test_an_entry_of_the_catalogue(method):
    short, full = catalogue.entry(method), catalogue.entry(method, full=True)
    json.dumps(full)
    assert (short["state"], short["title"], short["effects"], short["locks"]) == (
        "ready",
        "A test",
        "destroy",
        ["node"],
    )
    assert (short["timeout_s"], short["supports"], len(short["sha256"])) == (7, ["plan"], 64)
    assert set(full) - set(short) == {"errors", "manifest"}
    method.manifests.clear()
    method.refresh("/bin")
    bare = catalogue.entry(method, full=True)
    assert (bare["state"], "title" in bare, "manifest" in bare) == ("incomplete", False, False)


def test_the_openapi_document_holds_the_schemas_of_ready_methods(method):
    registry = types.SimpleNamespace(all=lambda: [method, Method("c.d", state="invalid")])
    shown = openapi.document(registry, "http://here/")
    assert shown["servers"] == [{"url": "http://here/"}]
    assert [path for path in shown["paths"] if "." in path] == ["/openapi.json", "/v1/methods/a.b"]
    schemas = shown["components"]["schemas"]
    assert schemas["a.b.request"]["properties"]["a"] == {"$ref": "#/components/schemas/a.b.request/$defs/size"}
    assert schemas["a.b.request"]["properties"]["child"] == {"$ref": "#/components/schemas/a.b.request"}
    assert "$schema" not in schemas["a.b.request"]
    assert "buy a new one" in shown["paths"]["/v1/methods/a.b"]["post"]["description"]
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(shown)
