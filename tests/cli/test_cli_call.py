import json

import pytest


def test_a_call_prints_the_response_as_json(cli):
    done = cli.local("call", "demo.echo", "text=hello", "n=5")
    assert (done.status, done.err) == (0, "")
    assert done.json == {"text": "hello", "n": 5}
    assert done.out == '{\n  "text": "hello",\n  "n": 5\n}\n'


def test_words_become_what_the_schema_wants(cli):
    words = {
        "text=5": "5", "n=-7": -7, "x=1.50": 1.5, "flag=true": True, "words=a,5,": ["a", "5", ""],
        "numbers=1,2": [1, 2],
        "either=null": None, "mixed=5": 5, "mode=1": "1", "shared=0123": "0123", 'object={"a": [1]}': {"a": [1]},
        "free=12": 12, "also=plain text": "plain text", "eq=a=b": "a=b", "empty=": "", "json:=[1, null]": [1, None],
        "umlaut=ä€": "ä€",
    }  # fmt: skip
    done = cli.local("call", "demo.echo", *words)
    assert done.status == 0, done.err
    expected = {word.split("=")[0].rstrip(":"): value for word, value in words.items()}
    assert done.json == expected
    assert {key: type(value) for key, value in done.json.items()} == {
        key: type(value) for key, value in expected.items()
    }


@pytest.mark.parametrize(("word", "value"), [
    ("either=12", "12"), ("either=text", "text"), ("mixed=x", "x"), ("mixed=1.5", "1.5"), ("mode=auto", "auto"),
    ("shared=12", "12"),
    ("words=[\"a,b\"]", ["a,b"]), ("words=", []), ("text:=null", None), ('text="x"', '"x"'),
])  # fmt: skip
def test_words_that_could_mean_two_things(word, value):
    """Without a process: the conversion alone."""
    from agent_router.cli import arguments

    schema = {
        "$defs": {"name": {"type": "string"}},
        "properties": {
            "either": {"type": ["string", "null"]},
            "mixed": {"type": ["integer", "string"]},
            "mode": {"enum": ["1", "auto"]},
            "shared": {"$ref": "#/$defs/name"},
            "words": {"type": "array", "items": {"type": "string"}},
            "text": {"type": "string"},
        },
    }
    assert arguments.request((word,), "", schema) == {word.split("=")[0].rstrip(":"): value}


@pytest.mark.parametrize(("words", "value"), [
    (["s=https://a/x"], "https://a/x"), (["s=" + "1" * 64], "1" * 64), (['s=["a", "b"]'], ["a", "b"]),
    (["s=a,b"], "a,b"), (["s=a", "s=b"], ["a", "b"]), (["s=a", 's:=[{"url": "b"}]', "s=c"], ["a", {"url": "b"}, "c"]),
])  # fmt: skip
def test_a_string_or_a_list_of_them(words, value):
    from agent_router.cli import arguments

    schema = {"properties": {"s": {"type": ["string", "array"]}}}
    assert arguments.request(tuple(words), "", schema) == {"s": value}


def test_of_what_is_no_list_the_last_counts():
    from agent_router.cli import arguments

    schema = {"properties": {"s": {"type": "string"}}}
    assert arguments.request(("s=a", "s=b"), "", schema) == {"s": "b"}


def test_a_request_from_a_file_or_standard_input(cli, tmp_path):
    path = tmp_path / "request.json"
    path.write_text('{"text": "5", "x": 1.10}')
    assert cli.local("call", "demo.echo", "-f", str(path)).json == {"text": "5", "x": 1.1}
    assert cli.local("call", "demo.echo", "-f", str(path), "text=6").json == {"text": "6", "x": 1.1}
    assert cli.local("call", "demo.echo", "-", stdin=b'{"n": 2}').json == {"n": 2}
    assert cli.local("call", "demo.echo", "-f", "-", "x=3", stdin=b'{"n": 2}').json == {"n": 2, "x": 3}


@pytest.mark.parametrize(("words", "sentence"), [
    (["nonsense"], "'nonsense' is not key=value (or key:=JSON); -f FILE takes a whole request"),
    (["=x"], "'=x' is not key=value"),
    (["a:=[1"], "a: not JSON: Expecting"),
    (["a:=NaN"], "a: NaN is not JSON"),
    (["-f", "/no/such/file"], "/no/such/file: No such file or directory"),
    (["-"], "standard input: not JSON"),
])  # fmt: skip
def test_words_that_make_no_request(cli, words, sentence):
    done = cli.local("call", "demo.echo", *words)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"agent-router: {sentence}")
    assert done.err.count("\n") == 1


def test_a_file_that_holds_no_object(cli):
    done = cli.local("call", "demo.echo", "-", stdin=b"[1]")
    assert (done.status, done.err) == (2, "agent-router: standard input: must be a JSON object, the request\n")


def test_a_request_against_the_schema(cli):
    done = cli.local("call", "demo.echo", "n=x", "strict=-1", "flag=perhaps")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[0] == "agent-router: demo.echo: the request has 3 problems"
    assert sorted(done.err.splitlines()[1:]) == [
        "  $.flag: 'perhaps' is not of type 'boolean'",
        "  $.n: 'x' is not of type 'integer'",
        "  $.strict: -1 is less than the minimum of 0",
    ]
    one = cli.local("call", "demo.echo", "n=x")
    assert one.err == "agent-router: demo.echo: $.n: 'x' is not of type 'integer'\n"


@pytest.mark.parametrize(("name", "sentence"), [
    ("demo.ecko", "There is no method 'demo.ecko'; did you mean demo.echo"),
    ("nothing.like.it", "There is no method 'nothing.like.it'; GET /v1/methods lists all"),
    ("a b?d#e%20", "There is no method 'a b?d#e%20'"),
    ("demo.alone", "demo.alone is incomplete: there is"),
])  # fmt: skip
def test_names_of_no_method(cli, name, sentence):
    done = cli.local("call", name)
    assert done.status == 2
    assert done.err.startswith(f"agent-router: {sentence}")


def test_a_failure(cli):
    done = cli.local("call", "demo.fails")
    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines() == [
        "agent-router: demo.fails failed (PluginFailed): the thing is broken",
        "  log: <6>looking",
        "  tool: it broke",
    ]
    assert "demo.says_no failed (Refused): it is mounted" in cli.local("call", "demo.says_no").err


def test_a_failure_as_json(cli):
    done = cli.local("call", "demo.fails", "--json")
    assert (done.status, done.err) == (1, "")
    assert done.json["command_error"]["plugin"]["code"] == "broken"
    assert cli.local("call", "demo.echo", "--json").json["command_status"] == "SUCCEEDED"


def test_a_log_that_was_shown_is_not_repeated(cli):
    done = cli.local("call", "demo.fails", "--log")
    assert done.err.splitlines()[:3] == [
        "looking",
        "tool: it broke",
        "agent-router: demo.fails failed (PluginFailed): the thing is broken",
    ]
    assert done.err.count("it broke") == 1


def test_a_plugin_without_words_of_its_own(cli):
    quiet = cli.local("call", "demo.dies")
    assert quiet.err.splitlines() == [
        "agent-router: demo.dies failed (PluginFailed): it broke (exit status 3)",
        "  log: <3>it broke",
        "  output: half an answer",
    ]
    shown = cli.local("call", "demo.dies", "--log")
    assert shown.err.splitlines() == ["it broke", quiet.err.splitlines()[0], "  output: half an answer"]


def test_the_whole_log_is_shown_before_the_result(cli):
    done = cli.local("call", "demo.works", "--log")
    assert done.err.splitlines() == ["step 1", "step 2", "step 3", "step 4", "the last line"]
    assert done.json == {"steps": 4}


def test_a_plan(cli):
    assert cli.local("call", "demo.plans", "--plan").json == {"action": "plan"}
    assert cli.local("call", "demo.plans").json == {"action": "run"}
    done = cli.local("call", "demo.echo", "--plan")
    assert (done.status, done.err) == (2, "agent-router: demo.echo does not support plan\n")


def test_a_time_limit(cli, trace):
    for limit_s in ("0.5", "5", "50"):  # a busy machine may not come to running the plugin within the first
        done = cli.local("call", "demo.waits", trace.argument, "--timeout", limit_s)
        assert done.status == 1
        assert f"demo.waits failed (Timeout): it did not finish within {limit_s} s after " in done.err
        if trace.written():
            break
    assert "stopped at block" in done.err
    assert trace.all_gone()
    zero = cli.local("call", "demo.echo", "--timeout", "0")
    assert (zero.status, zero.err) == (2, "agent-router: timeout_s must be a number of seconds above 0\n")


def test_a_device_that_is_not_allowed(cli):
    done = cli.local("call", "demo.disk", "device=/dev/null")
    assert (done.status, done.err) == (1, "agent-router: demo.disk failed (Refused): /dev/null is not a block device\n")


def test_settings_of_a_server_do_not_disturb_local_calls(cli, tmp_path):
    """A machine's settings file may name a token and certificates that only root can read."""
    path = tmp_path / "agent.toml"
    path.write_text('host = "0.0.0.0"\ntoken_file = "/root/no"\ncert = "/root/no"\nkey = "/root/no"\n')
    done = cli.local("call", "demo.echo", "n=1", AGENT_ROUTER_CONFIG=str(path), AGENT_ROUTER_TOKEN="short")
    assert (done.status, done.err) == (0, "")
    path.write_text("prot = 5\n")
    done = cli.local("call", "demo.echo", "--config", str(path))
    assert done.status == 2
    assert "prot is unknown; known are" in done.err


def test_directories_from_the_settings_file(cli, tmp_path, directories):
    plugins, schemas = (option.split("=")[1] for option in directories[:2])
    path = tmp_path / "agent.toml"
    path.write_text(f"plugins = [{json.dumps(plugins)}]\nschemas = [{json.dumps(schemas)}]\nbundled = false\n")
    assert cli("call", "demo.echo", "n=1", "--config", str(path)).json == {"n": 1}
    variables = {"AGENT_ROUTER_PLUGINS": plugins, "AGENT_ROUTER_SCHEMAS": schemas}
    assert cli("call", "demo.echo", "n=1", **variables).json == {"n": 1}


def test_a_flow_without_a_server(cli, directories):
    flow = '[{"demo.echo": {"n": 1}}, {"demo.echo": {"n": 2}}]'
    places = [option for option in directories if option != "--no-bundled"]
    done = cli("call", "flow.start_flow", f"flow={flow}", "--json", *places)
    assert done.status == 0, done.err
    assert [one["command_result"] for one in done.json["command_result"]["results"]] == [{"n": 1}, {"n": 2}]
