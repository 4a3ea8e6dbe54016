import json

import pytest

from agent_router.catalogue.manifest import Manifest
from agent_router.commands.progress import progress_text
from agent_router.commands.verdict import Ended, Verdict, command_object, judge, short_name

BUSY = b'{"error": {"code": "device_busy", "message": "it is mounted", "details": {"on": "/mnt"}}, "partial": {"n": 1}}'


def manifest(**keys) -> Manifest:
    response = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "n": {"type": "integer"},
            "reboot": {"type": "boolean"},
            "changed": {"type": "boolean"},
            "a": {},
            "lines": {},
        },
    }
    whole = {
        "protocol": 1,
        "title": "A test",
        "version": "1",
        "effects": "read",
        "request": {"type": "object"},
        "response": response,
        **keys,
    }
    return Manifest(json.dumps(whole).encode())


def ended(reason="done", status=0, out=b"", log=b"", **keys) -> Ended:
    facts = {
        "id": "1",
        "name": "a.b.c",
        "message": "",
        "started_at": 100.0,
        "ended_at": 102.5,
        "progress": None,
        "warnings": [],
    }
    return Ended(reason=reason, status=status, out=out, log_tail=log, **{**facts, **keys})


@pytest.mark.parametrize(("status", "type", "code"), [
    (64, "InvalidRequest", 400), (69, "Incompatible", 501), (75, "Retry", 503), (77, "Refused", 403),
    (1, "PluginFailed", 500), (2, "PluginFailed", 500), (255, "PluginFailed", 500), (65, "PluginFailed", 500),
    (-9, "KilledBySignal", 500), (-11, "KilledBySignal", 500), (-64, "KilledBySignal", 500),
])  # fmt: skip
def test_exit_status(status, type, code):
    how = {-9: "signal SIGKILL", -11: "signal SIGSEGV", -64: "signal SIGRTMAX"}.get(status, f"exit status {status}")
    for one in (
        manifest(),
        manifest(
            exec={"argv": [], "exit_codes": {"64": "invalid", "69": "incompatible", "75": "retry", "77": "refused"}}
        ),
    ):
        error = judge(ended(status=status, log=b"<6>first\n<3>the last words\n\n"), one).error
        assert (error["type"], error["code"], error["message"]) == (type, code, f"the last words ({how})")
        assert error["details"].startswith(error["message"] + "\n")
        silent = judge(ended(status=status), one).error
        assert silent["message"] == f"it ended with {how} and said nothing"


@pytest.mark.parametrize(("out", "log", "message"), [
    (BUSY, b"<3>log", "it is mounted"),
    (b'{"error": {"code": "device_busy"}}', b"", "device_busy"),
    (b'{"error": {}}', b"log", "exit status 1"),
    (b'{"error": "text"}', b"log\n", "log (exit status 1)"),
    (b"on stdout\nonly\n", b"", "only (exit status 1)"),
    (b"\xff\xfe", b"", "\ufffd\ufffd (exit status 1)"),
    (b"", b"x\xe9\n", "x\ufffd (exit status 1)"),
    (b"x" * 10_000, b"", "x" * 500 + " (exit status 1)"),
    (b"", b"<3>line 3: x=$(grep a b)\n", "line 3: x=$(grep a b) (exit status 1)"),
    (b"on stdout", b"<6>begins\n<3>line 3: grep a b\n", "line 3: grep a b (exit status 1)"),
    (b"", b"wipefs: probing failed\n<3>line 5: wipefs -a /dev/x\n",
        "wipefs: probing failed (line 5: wipefs -a /dev/x; exit status 1)"),
    (b"", b"cat: x\n<3>line 4: cat x\n<3>line 9: y=$(f)\n\n", "cat: x (line 4: cat x; exit status 1)"),
    (b"", b"<3>line 4: cat x\n<3>went on\n", "went on (exit status 1)"),
    (b"", b"no colon\n<3>plugin.sh, line 40: printf x\n", "no colon (plugin.sh, line 40: printf x; exit status 1)"),
    (BUSY, b"<3>line 3: x=$(grep a b)\n", "it is mounted"),
])  # fmt: skip
def test_which_message_wins(out, log, message):
    assert judge(ended(status=1, out=out, log=log), manifest()).error["message"] == message


def test_the_error_object_is_kept():
    error = judge(ended(status=77, out=BUSY, log=b"looking\n"), manifest()).error
    assert (error["type"], error["details"]) == ("Refused", "it is mounted\nlog: looking")
    assert error["plugin"] == {"code": "device_busy", "details": {"on": "/mnt"}, "partial": {"n": 1}}


@pytest.mark.parametrize(("out", "type", "words"), [
    (b"", "NoResponse", "ended with 0 but printed no response"),
    (b" \n ", "NoResponse", "ended with 0 but printed no response"),
    (b"banner\n{}", "InvalidJSON",
        "not one JSON value: not JSON: Expecting value at line 1 column 1, where 'banner' stands;"),
    (b"\n\n  Starting up " + b"x" * 100 + b"\n{}", "InvalidJSON",
        "at line 3 column 3, where 'Starting up " + "x" * 48 + "' stands;"),
    (b"{}\nDone.\n", "InvalidJSON", "Extra data at line 2 column 1, where 'Done.' stands;"),
    (b'{"n": 3 MiB}', "InvalidJSON", "where 'MiB}' stands; what is no response belongs on standard error"),
    (b"{} {}", "InvalidJSON", "Extra data"),
    (b"\xef\xbb\xbf{}", "InvalidJSON", "byte order mark"),
    (b'{"n": NaN}', "InvalidJSON", "NaN is not JSON"),
    (b'{"n": "1"}', "InvalidResponse", "breaks its own schema: $.n: '1' is not of type 'integer'"),
    (b"[]", "InvalidResponse", "$: [] is not of type 'object'"),
    (b'{"x": 1, "n": 1.5}', "InvalidResponse", "$"),
    (BUSY, "PluginFailed", "it is mounted"),
])  # fmt: skip
def test_exit_0_is_not_enough(out, type, words):
    error = judge(ended(out=out), manifest()).error
    assert (error["type"], error["code"]) == (type, 500)
    assert words in error["message"]


def test_all_problems_of_a_response_are_in_the_details():
    details = judge(ended(out=b'{"x": 1, "n": 1.5, "reboot": 1}'), manifest()).error["details"]
    assert len(details.splitlines()) == 4


def test_success_is_the_plugins_own_text():
    verdict = judge(ended(out=b' {"n": 1,\n "a": 1.10}\n'), manifest())
    assert verdict.error is None
    assert verdict.result["n"] == 1
    assert b'"command_result":{"n": 1,  "a": 1.10}}' in command_object(ended(), verdict)


@pytest.mark.parametrize(("reason", "type", "code", "message"), [
    ("timeout", "Timeout", 504, "it did not finish within 0.5 s after 2.5 s"),
    ("cancelled", "Cancelled", 409, "it was cancelled after 2.5 s"),
    ("stuck", "Stuck", 500, "it hangs in the kernel and survived SIGKILL; its locks are kept after 2.5 s"),
    ("output_limit", "OutputLimit", 500, "it printed more than 2 MiB and was killed"),
    ("log_limit", "LogLimit", 500, "it logged more than 0.5 MiB and was killed"),
    ("not_started", "NotStarted", 500, "it was not started: no such interpreter"),
    ("outcome_unknown", "OutcomeUnknown", 500, "the agent died while it ran, and nobody saw how it ended"),
    ("refused", "Refused", 403, "no such interpreter"),
])  # fmt: skip
def test_ends_that_the_agent_decided(reason, type, code, message):
    facts = ended(reason, -15, message="no such interpreter", timeout_s=0.5, log=b"log\n")
    error = judge(facts, manifest(output_limit_mib=2, log_limit_mib=0.5)).error
    assert (error["type"], error["code"], error["message"]) == (type, code, message)
    assert judge(facts, None).error["type"] == type


def test_what_an_interrupted_plugin_said_is_added():
    facts = ended(
        "cancelled",
        -15,
        out=b'{"error": {"message": "stopped after 3 blocks"}}',
        progress={"done": 3, "total": 12, "unit": "blocks", "message": "writing"},
    )
    message = judge(facts, manifest()).error["message"]
    assert message == "it was cancelled after 2.5 s at 25 % (3 of 12 blocks), writing: stopped after 3 blocks"


def test_a_manifest_that_is_gone():
    assert judge(ended(out=b"{}"), None).error["type"] == "NoManifest"


@pytest.mark.parametrize(("status", "out", "result", "warnings"), [
    (0, b'{"n": 1}', {"n": 1}, []),
    (1, b'{"n": 1}', {"n": 1, "changed": False}, []),
    (2, b'{"n": 1}', {"n": 1, "reboot": True}, []),
    (3, b'{"n": 1}', {"n": 1}, ["only partly done: exit status 3"]),
])  # fmt: skip
def test_outcomes_of_an_unmodified_program(status, out, result, warnings):
    codes = {"0": "ok", "1": "unchanged", "2": "ok+reboot", "3": "partial", "*": "refused"}
    verdict = judge(ended(status=status, out=out), manifest(exec={"argv": [], "exit_codes": codes}))
    assert (verdict.result, verdict.warnings, verdict.error) == (result, warnings, None)
    assert json.loads(command_object(ended(), verdict))["command_result"] == result


@pytest.mark.parametrize(("exec", "status", "out", "type", "words"), [
    ({"exit_codes": {"*": "refused"}}, 9, b"no\n", "Refused", "no (exit status 9)"),
    ({"exit_codes": {"0": "failed"}}, 0, b"no\n", "PluginFailed", "no (exit status 0)"),
    ({"exit_bits": {"0": "failed"}}, 1, b"", "PluginFailed", "exit status 1"),
    ({"success": {"required": ["n"]}}, 0, b'{"a": 1}', "PluginFailed",
        "tells of a failure: $: 'n' is a required property"),
    ({"stdout": "extract"}, 0, b"nothing", "InvalidJSON", "no complete JSON"),
    ({}, 0, b'{"n": "x"}', "InvalidResponse", "$.n"),
    ({}, -9, b"", "KilledBySignal", "SIGKILL"),
])  # fmt: skip
def test_failures_of_an_unmodified_program(exec, status, out, type, words):
    error = judge(ended(status=status, out=out), manifest(exec={"argv": [], **exec})).error
    assert error["type"] == type
    assert words in error["message"]


def test_the_command_object():
    facts = ended(warnings=["one"], events_bad=2)
    failed = json.loads(command_object(facts, Verdict(error={"type": "X"}, warnings=["two"])))
    assert failed == {
        "id": "1", "name": "a.b.c", "command_name": "b.c", "command_status": "FAILED", "command_error": {"type": "X"},
        "command_result": None, "started_at": 100.0, "ended_at": 102.5, "warnings": ["one", "two"], "events_dropped": 2,
    }  # fmt: skip
    good = command_object(ended(), Verdict(result=None))
    assert json.loads(good)["command_status"] == "SUCCEEDED"
    assert good.startswith(b'{"id":"1","started_at":100.0,')
    assert b"\n" not in good


@pytest.mark.parametrize(("name", "short"), [("disk.wipe", "wipe"), ("raid.show.acme", "show.acme"), ("odd", "odd")])
def test_ironics_name(name, short):
    assert short_name(name) == short


@pytest.mark.parametrize(("progress", "text"), [
    (None, ""),
    ({"done": 5}, "5"),
    ({"done": 5, "unit": "disks", "message": "scanning"}, "5 disks, scanning"),
    ({"done": 15, "total": 100, "unit": "%"}, "15 %"),
    ({"done": 1, "total": 3}, "33 % (1 of 3)"),
    ({"done": 9, "total": 3, "unit": "x"}, "100 % (9 of 3 x)"),
    ({"done": 0, "total": 0, "unit": "x"}, "0 x"),
    ({"done": 10 << 20, "total": 64 << 20, "unit": "B", "message": "19.9 MiB/s"}, "16 % (10 of 64 MiB), 19.9 MiB/s"),
    ({"done": 5 << 30, "total": 20 << 30, "unit": "bytes"}, "25 % (5 of 20 GiB)"),
    ({"done": 1 << 20, "unit": "B"}, "1 MiB"),
    ({"done": 1, "total": "many", "unit": "B"}, "0 MiB"),
    ({"done": 1, "total": None, "unit": 5, "message": ["x"]}, "1 5, ['x']"),
])  # fmt: skip
def test_progress_in_words(progress, text):
    assert progress_text(progress) == text
