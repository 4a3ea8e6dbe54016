"""Every route by Flask's own test client: it stands once, answers with and without /v1, and is in the documents."""

import json
import re
from pathlib import Path

import pytest

from agent_router.api import views
from agent_router.api.app import create_app
from agent_router.api.later import KNOWN, Parked
from agent_router.commands.dispatch import Dispatcher
from agent_router.config.settings import Settings
from agent_router.schema import subschemas

ROOT = Path(__file__).parents[2]
RECORD = (
    b'{"id":"abc-1","command_name":"sh","command_status":"SUCCEEDED","command_error":null,"command_result":{"x":1}}'
)


class FakeRunner:
    """Answers every question with `answers[op]`, and remembers the questions."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    def __call__(self, message, body=b""):
        self.asked.append((message, body))
        answer, body = self.answers[message["op"]]
        return {"op": message["op"], "n": None, "id": message.get("id", ""), **answer}, body


@pytest.fixture
def runner():
    fake = FakeRunner()
    fake.answers = {"get": ({"state": "ended"}, RECORD), "run": ({"state": "ended"}, RECORD)}
    return fake


@pytest.fixture
def app(tmp_path, runner):
    settings = Settings(
        plugins=[str(ROOT / "tests/plugins.d")], schemas=[str(ROOT / "tests/schemas")], state=str(tmp_path)
    )
    return create_app(Dispatcher(settings), runner)


@pytest.fixture
def client(app):
    return app.test_client()


def documented():
    """(method, path) of every row of the table of calls in docs/http-api.md."""
    text = (ROOT / "docs/http-api.md").read_text()
    found = re.findall(r"`(GET|POST|DELETE) (/[^ `?]*)", text[: text.index("\n## ")]) + [
        ("GET", path) for path in re.findall(r", `GET (/[^ `?]*)`", text[: text.index("\n## ")])
    ]
    return {(method, re.sub(r"<\w+>", "<>", path.replace("ID", "<>").replace("NAME", "<>"))) for method, path in found}


def served(app):
    """(method, path) to view for every rule of the application."""
    found = {}
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            key = method, re.sub(r"<\w+>", "<>", rule.rule)
            assert key not in found, f"{key} is served twice"
            found[key] = app.view_functions[rule.endpoint]
    return found


def test_the_routes_are_those_of_the_document(app):
    found = {key for key in served(app) if key[1].startswith("/v1/") or key[1] == "/"} - {("GET", "/v1/openapi.json")}
    assert found == {key for key in documented() if key[1] != "/openapi.json"}
    assert ("GET", "/openapi.json") in documented()


def test_every_path_works_with_v1_and_without(app):
    found = served(app)
    for (method, path), view in found.items():
        if path not in views.ROOTS:
            twin = path.removeprefix("/v1") if path.startswith("/v1/") else "/v1" + path
            assert found[method, twin] is view


@pytest.mark.parametrize("path", ["/commands/%61bc-1", "/v1/commands/%61bc-1", "/v1/commands/abc-1"])
def test_a_path_is_decoded_wherever_it_is_asked(client, runner, path):
    assert client.get(path).get_data() == RECORD
    assert runner.asked[0][0]["id"] == "abc-1"


@pytest.mark.parametrize("path", ["/v1/commands/?wait=perhaps", "/v1/methods/work.sh?wait=perhaps"])
def test_the_query_is_judged_before_the_body(client, path):
    answer = client.post(path, data=b"{no json")
    assert (answer.status_code, answer.json["code"]) == (400, "query_invalid")


@pytest.mark.parametrize("query", ["plan", "Plan=true", "dry_run=true", "plan=true&plan=false", "plan=true;wait=true"])
@pytest.mark.parametrize("path", ["/v1/commands/", "/commands/", "/v1/methods/work.sh", "/methods/work.sh/"])
def test_whoever_may_want_a_plan_gets_no_run(client, runner, path, query):
    answer = client.post(f"{path}?{query}", json={"name": "work.sh", "params": {}})
    assert (answer.status_code, answer.json["code"]) == (400, "query_invalid")
    assert runner.asked == []


def test_the_query_parameters_are_those_of_the_openapi_document(client):
    document = client.get("/openapi.json").json
    paths, shared = document["paths"], document["components"]["parameters"]
    for method, path, _, names in views.ROUTES:
        path = path.replace("<", "{").replace(">", "}")
        path = path if path in (*views.ROOTS, "/openapi.json") else "/v1" + path
        if (method, path) == ("POST", "/v1/methods/{name}"):  # one path for each method there
            path = "/v1/methods/test.echo"
        stated = paths[path][method.lower()].get("parameters", ())
        stated = [shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in stated]
        assert {one["name"] for one in stated if one["in"] == "query"} == set(names), (method, path)


def test_a_schema_stands_in_the_document_as_the_plugin_wrote_it():
    """Only references move, and only where they are some."""
    moved = subschemas.moved(
        {"$schema": "x", "$ref": "#/$defs/a", "const": {"$ref": "#/b"}, "properties": {"$ref": {"$schema": 1}}}, "#/x"
    )
    assert moved == {"$ref": "#/x/$defs/a", "const": {"$ref": "#/b"}, "properties": {"$ref": {}}}


def test_a_method_answers_with_the_result_alone(client, runner):
    answer = client.post("/v1/methods/work.sh", json={"n": 2, "runs": "x"})
    assert (answer.status_code, answer.json) == (200, {"x": 1})
    message, body = runner.asked[0]
    assert (message["op"], message["name"], message["wait"]) == ("run", "work.sh", True)
    assert json.loads(body) == {"n": 2, "runs": "x"}
    assert answer.headers["X-Command-Id"] == message["id"]


def test_what_is_cancelled_is_asked_for_afterwards(client, runner):
    runner.answers["cancel"] = {"state": "cancelling"}, b""
    assert client.delete("/v1/commands/abc-1?wait=true").get_data() == RECORD
    assert [message["op"] for message, _ in runner.asked] == ["cancel", "get"]
    runner.answers["cancel"] = {"state": "refused", "message": "it is in a critical section"}, b""
    answer = client.delete("/v1/commands/abc-1")
    assert (answer.status_code, answer.json["code"]) == (409, "not_cancellable")


def test_a_log_is_followed_to_the_end_of_its_command(client, tmp_path):
    (tmp_path / "c/abc-1").mkdir(parents=True)
    (tmp_path / "c/abc-1/log").write_text("one\ntwo")
    assert client.get("/v1/commands/abc-1/log").get_data() == b"one\ntwo"
    assert client.get("/v1/commands/abc-1/log?follow=true").get_data() == b"one\ntwo"


def test_events_end_with_the_command_and_go_on_where_a_client_was(client, tmp_path):
    (tmp_path / "c/abc-1").mkdir(parents=True)
    lines = [{"seq": n, "event": "progress", "time": 1.5, "data": {"done": n}} for n in (1, 2)]
    (tmp_path / "c/abc-1/stream").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = client.get("/v1/commands/abc-1/events", headers={"Last-Event-ID": "1"}).get_data(as_text=True)
    assert text.startswith('id: 2\nevent: progress\ndata: {"done": 2, "time": 1.5}\n\nevent: end\ndata: {')
    for wrong in ("9" * 5000, "-1", "x", "²"):
        assert "id: 1\n" in client.get("/commands/abc-1/events", headers={"Last-Event-ID": wrong}).get_data(
            as_text=True
        )


def test_an_unknown_command_is_404_on_every_route(client, runner):
    runner.answers["get"] = {"state": "unknown"}, b""
    for path in ("/v1/commands/x", "/v1/commands/x/log", "/v1/commands/x/log?follow=true", "/v1/commands/x/events"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["code"]) == (404, "command_unknown")


@pytest.mark.parametrize("id", ["%00", "..", "a%20b", "-x", "x" * 65, "%C3%BC", "a%0A"])
def test_an_id_that_no_command_can_have_is_not_asked_for(client, runner, id):
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/log"), ("GET", "/events")):
        answer = client.open(f"/v1/commands/{id}{rest}", method=method)
        assert (answer.status_code, answer.json["code"]) == (404, "command_unknown")
    assert runner.asked == []


def test_a_server_that_knows_how_gets_the_question_instead_of_an_answer(app):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/v1/commands/x", KNOWN: True, "QUERY_STRING": "wait=true",
               "SERVER_NAME": "", "SERVER_PORT": "", "wsgi.url_scheme": "http"}  # fmt: skip
    result = app(environ, None)
    assert isinstance(result, Parked)
    assert result.message == {"op": "get", "id": "x", "wait": True}
    assert result.finish({"op": "get", "n": 1, "id": "x", "state": "unknown"}, b"").status_code == 404


def test_a_path_with_doubled_slashes_is_not_redirected(client):
    assert client.get("/v1//status").status_code == 404


def test_a_wrong_method_names_the_right_ones(client):
    answer = client.put("/v1/commands/")
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}
