"""Unmodified programs: the exec part of a manifest."""

import pytest

from tests.support.agent import Agent, Drop

# Prints what it is told on standard output, then its arguments on standard error, and ends as it is told.
TOOL = """#!/bin/sh
printf '%s' "$PARAM_print"
printf '<%s>' "$@" >&2
exit "${PARAM_status:-0}"
"""
PROPERTIES = {"print": {"type": "string", "default": ""}, "status": {"type": "integer"}}


def tool(drop: Drop, spec: dict, script: str = TOOL, properties: dict | None = None, **keys) -> str:
    request = {"type": "object", "properties": {**PROPERTIES, **(properties or {})}}
    drop("dropped.tool", script, request=request, exec={"argv": [], **spec}, **keys)
    return "dropped.tool"


def argv(agent: Agent, id: str) -> list[str]:
    log = agent.log(id).strip()
    return log[1:-1].split("><") if log not in ("", "<>") else []


# ---- arguments

TEMPLATES = {
    "size": {"type": "integer"}, "name": {"type": "string", "default": "none"}, "force": {"type": "boolean"},
    "mode": {"enum": ["-a", "-b"]}, "any": {"type": "string", "x-leading-dash": True}, "ratio": {"type": "number"},
}  # fmt: skip
TEMPLATE_ARGV = [
    "show", "/c{name}", {"when": "force", "argv": ["--force", "yes"]}, {"when": "size", "argv": ["{size}", "s={size}"]},
    {"when": "mode", "argv": ["{mode}"]}, {"when": "any", "argv": ["{any}"]}, {"when": "ratio", "argv": ["{ratio}"]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["show", "/cnone"]),
        ({"name": "a b; rm -rf $HOME `x` *"}, ["show", "/ca b; rm -rf $HOME `x` *"]),
        ({"name": "-x"}, ["show", "/c-x"]),
        ({"force": True, "size": 3}, ["show", "/cnone", "--force", "yes", "3", "s=3"]),
        ({"force": False}, ["show", "/cnone"]),
        ({"size": 0}, ["show", "/cnone", "0", "s=0"]),
        ({"mode": "-a", "any": "-anything"}, ["show", "/cnone", "-a", "-anything"]),
        ({"ratio": 0.5}, ["show", "/cnone", "0.5"]),
        ({"name": "{size}"}, ["show", "/c{size}"]),
    ],
)
def test_arguments_are_filled_one_by_one_without_a_shell(agent: Agent, drop: Drop, params, expected):
    name = tool(drop, {"argv": TEMPLATE_ARGV, "stdout": "none"}, properties=TEMPLATES)
    command = agent.post(name, params)
    assert command["command_status"] == "SUCCEEDED", command
    assert argv(agent, command["id"]) == expected


@pytest.mark.parametrize("params", [{"size": -1}, {"ratio": -0.5}, {"name": "x\0y"}])
def test_a_value_that_would_be_an_option_is_refused_before_the_start(agent: Agent, drop: Drop, params):
    name = tool(drop, {"argv": TEMPLATE_ARGV, "stdout": "none"}, properties=TEMPLATES)
    reply = agent.send(name, params)
    assert (reply.status, reply.problem["code"]) == (400, "request_invalid")
    assert reply.problem["problems"][0]["path"] == f"$.{next(iter(params))}"


def test_argv_0_is_the_name_of_the_link(agent: Agent, drop: Drop):
    script = '#!/bin/sh\nprintf \'{"me": "%s"}\' "$0"\n'
    path = drop("dropped.multi", script, exec={"argv": []})
    path.rename(agent.plugins / ".multi")
    path.symlink_to(".multi")
    assert agent.post("dropped.multi")["command_result"] == {"me": str(path)}


def test_stdin_is_empty_unless_the_request_is_asked_for(agent: Agent, drop: Drop):
    script = '#!/bin/sh\nprintf \'{"stdin": "%s"}\' "$(cat | wc -c)"\n'
    assert agent.post(tool(drop, {}, script), {"print": "x"})["command_result"] == {"stdin": "0"}
    result = agent.post(tool(drop, {"stdin": "request"}, script), {"print": "x"})["command_result"]
    assert result["stdin"] != "0"


# ---- output


@pytest.mark.parametrize(
    ("spec", "printed", "expected"),
    [
        ({}, '{"a": 1}', {"a": 1}),
        ({"stdout": "json"}, " [1] \n", [1]),
        ({"stdout": "extract"}, 'ACME 1.0\n{"a": 1}\nwarning: [x\n{"b": [2]}\nbye', {"b": [2]}),
        ({"stdout": "extract"}, '{"a": "}{"} } {', {"a": "}{"}),
        ({"stdout": "lines"}, "one\n\ntwo\n", {"lines": ["one", "", "two"]}),
        ({"stdout": "raw"}, 'any "text"\n', {"text": 'any "text"\n'}),
        ({"stdout": "none"}, "not looked at", {}),
        ({"stdout": "regex", "regex": "^version (?P<v>[0-9.]+)( beta(?P<b>.))?$"}, "x\nversion 1.2\n", {"v": "1.2"}),
    ],
)
def test_output_becomes_a_response(agent: Agent, drop: Drop, spec, printed, expected):
    command = agent.post(tool(drop, spec), {"print": printed})
    assert command["command_status"] == "SUCCEEDED", command
    assert command["command_result"] == expected


@pytest.mark.parametrize(
    ("spec", "printed"),
    [
        ({}, "banner {}"),
        ({}, ""),
        ({"stdout": "extract"}, "no object here"),
        ({"stdout": "extract"}, '{"cut": '),
        ({"stdout": "regex", "regex": "(?P<v>[0-9]+)"}, "none"),
    ],
)
def test_output_without_a_response_fails(agent: Agent, drop: Drop, spec, printed):
    command = agent.post(tool(drop, spec), {"print": printed})
    assert command["command_status"] == "FAILED"
    assert command["command_error"]["type"] in ("InvalidJSON", "NoResponse")


def test_the_response_of_a_program_is_checked_too(agent: Agent, drop: Drop):
    name = tool(drop, {}, response={"type": "object", "required": ["Controllers"]})
    assert agent.post(name, {"print": "{}"})["command_error"]["type"] == "InvalidResponse"


# ---- exit status

CODES = {"0": "ok", "1": "unchanged", "2": "ok+reboot", "3": "partial", "4": "retry", "5": "refused",
         "6": "incompatible", "7": "invalid", "8": "failed"}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "result"),
    [
        (0, None, {}),
        (1, None, {"changed": False}),
        (2, None, {"reboot": True}),
        (3, None, {}),
        (4, "Retry", None),
        (5, "Refused", None),
        (6, "Incompatible", None),
        (7, "InvalidRequest", None),
        (8, "PluginFailed", None),
        (9, "PluginFailed", None),
    ],
)
def test_exit_codes_have_the_meaning_of_the_manifest(agent: Agent, drop: Drop, status, kind, result):
    command = agent.post(tool(drop, {"exit_codes": CODES}), {"print": "{}", "status": status})
    assert (command["command_error"] or {}).get("type") == kind
    assert command["command_result"] == result
    if status == 3:
        assert "exit status 3" in command["warnings"][0]
    if status == 9:
        assert "exit status 9" in command["command_error"]["message"]


@pytest.mark.parametrize(
    ("status", "kind"), [(0, None), (64, None), (4, "partial"), (2 | 64, "PluginFailed"), (4 | 2, "PluginFailed")]
)
def test_the_worst_set_bit_of_a_bit_mask_decides(agent: Agent, drop: Drop, status, kind):
    spec = {"exit_bits": {"1": "failed", "2": "partial"}}
    command = agent.post(tool(drop, spec), {"print": '{"a": 1}', "status": status})
    if kind == "PluginFailed":
        assert command["command_error"]["type"] == kind
    else:
        assert command["command_result"] == {"a": 1}
        assert ("warnings" in command) == (kind == "partial")


def test_a_program_that_ends_with_0_on_failure_is_caught_by_success(agent: Agent, drop: Drop):
    success = {"required": ["Controllers"], "properties": {"Controllers": {"minItems": 1}}}
    name = tool(drop, {"success": success})
    assert agent.post(name, {"print": '{"Controllers": [1]}'})["command_status"] == "SUCCEEDED"
    failed = agent.post(name, {"print": '{"Controllers": []}'})["command_error"]
    assert failed["type"] == "PluginFailed"
    assert "$.Controllers" in failed["message"]


def test_a_success_that_accepts_anything_is_no_manifest(agent: Agent, drop: Drop):
    reply = agent.send(tool(drop, {"success": {"type": "object"}}), {})
    assert reply.status == 500
    assert "$.exec.success" in reply.problem["message"]


def test_a_template_without_a_value_is_no_manifest(agent: Agent, drop: Drop):
    reply = agent.send(tool(drop, {"argv": ["{status}"]}), {})
    assert reply.status == 500
    assert "'status'" in reply.problem["message"]


def test_a_program_that_dies_by_a_signal(agent: Agent, drop: Drop):
    name = tool(drop, {"exit_codes": {"*": "ok"}}, "#!/bin/sh\nkill -KILL $$\n")
    assert agent.post(name)["command_error"]["type"] == "KilledBySignal"
