import json
import os
import sys
import time
from decimal import Decimal

import pytest

from agent_router.commands.dispatch import REMEMBERED, Dispatcher
from agent_router.commands.parameters import PARAM_BYTES
from agent_router.config import environment
from agent_router.config.settings import Settings
from agent_router.plugin import devices
from agent_router.schema.problems import RequestError

TEXT, SECRET = {"type": "string"}, {"type": "string", "writeOnly": True}
DISK = {"type": "string", "format": "block-device"}


@pytest.fixture
def make(tmp_path):
    """`make(effects=…, request=…)` gives a dispatcher that knows one method, test.method."""
    tmp_path.chmod(0o700)
    for name in ("p", "s", "state"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "p/test.method").write_text("#!/bin/sh\n")
    (tmp_path / "p/test.method").chmod(0o700)

    def build(settings=None, required=(), properties=None, **keys):
        request = {"type": "object", "required": [*required], "properties": properties or {}}
        whole = {
            "protocol": 1,
            "title": "t",
            "version": "1",
            "effects": "read",
            "request": request,
            "response": {},
            **keys,
        }
        (tmp_path / "s/test.method.json").write_text(json.dumps(whole))
        places = {"plugins": [str(tmp_path / "p")], "schemas": [str(tmp_path / "s")], "state": str(tmp_path / "state")}
        return Dispatcher(Settings(bundled=False, **places, **(settings or {})))

    return build


def refused(dispatcher, params, **options):
    with pytest.raises(RequestError) as caught:
        dispatcher.prepare("test.method", params, **options)
    return caught.value


def test_the_message_for_the_runner(make, tmp_path):
    before = time.time()
    call = make(timeout_s=9, grace_s=2, output_limit_mib=2, log_limit_mib=3).prepare("test.method", {})
    head = call.head
    assert (head["op"], head["name"], head["argv"]) == ("run", "test.method", [str(tmp_path / "p/test.method")])
    assert (head["timeout_s"], head["grace_s"], head["out_limit"], head["log_limit"]) == (9, 2, 2 << 20, 3 << 20)
    assert (head["action"], head["locks"], call.body) == ("run", [], b"{}")
    assert before <= head["at"] <= time.time()
    assert not {"again", "refused", "secrets", "exec", "abortable", "cleanup"} & set(head)
    assert head["params"] == {}
    json.dumps(head)


def test_the_environment_that_every_plugin_gets():
    found = environment.base(Settings(devices=["/dev/a", "!/dev/b:c"], state="/s", token="secret" * 9))
    assert (found["AGENT_PROTOCOL"], found["AGENT_EVENTS"], found["LANG"]) == ("1", "/dev/fd/3", "C.UTF-8")
    assert found["AGENT_DEVICES"] == "/dev/a,!/dev/b:c"
    assert os.path.exists(found["AGENT_LIB"] + "/plugin.sh")
    assert found["PATH"].split(":")[0] == os.path.dirname(sys.executable)
    assert "secret" not in str(found)


def test_what_the_manifest_says_about_its_end(make):
    head = make(abortable=False, supports=["cleanup"]).prepare("test.method", {}).head
    assert (head["abortable"], head["cleanup"]) == (False, True)


def test_each_call_has_an_id_of_its_own_or_the_given_one(make):
    dispatcher = make()
    assert len({dispatcher.prepare("test.method", {}).id for _ in range(100)}) == 100
    call = dispatcher.prepare("test.method", {}, id="my-id_1")
    assert (call.id, call.head["id"], call.head["again"]) == ("my-id_1", "my-id_1", True)


@pytest.mark.parametrize("id", ["-a", "_a", "a b", "a/b", "../a", "ä", "a" * 65, "a\n", "a.b"])
def test_ids_that_are_none(make, id):
    error = refused(make(), {}, id=id)
    assert (error.status, error.code) == (400, "id_invalid")


def test_defaults_are_filled_in_for_keys_that_are_not_there(make):
    properties = {"a": {"default": 1}, "b": {"default": [2]}, "c": {"default": None}, "d": TEXT, "e": True}
    call = make(properties=properties).prepare("test.method", {"a": 5, "x": 1})
    assert json.loads(call.body) == {"a": 5, "x": 1, "b": [2], "c": None}
    assert call.head["params"]["PARAM_a"] == "5"


def test_the_clients_own_text_reaches_the_plugin(make):
    text = b'{"n":  1.10}'
    assert make().prepare("test.method", {"n": 1.1}, text=text).body == text
    filled = make(properties={"a": {"default": 1}}).prepare("test.method", {"n": 1.1}, text=text)
    assert json.loads(filled.body) == {"n": 1.1, "a": 1}


def test_every_problem_is_told_and_secrets_in_it_are_masked(make):
    properties = {"key": {**SECRET, "pattern": "^[a-z]+$"}, "n": {"type": "integer"}}
    error = refused(make(properties=properties, required=["x", "y"]), {"key": "Hidden!", "n": "Hidden!"})
    assert (error.status, error.code, len(error.problems)) == (400, "request_invalid", 4)
    assert error.message.startswith("test.method: $")
    assert error.message.endswith(" …")
    assert "Hidden!" not in error.message + str(error.problems)
    assert {problem.path for problem in error.problems} == {"$", "$.key", "$.n"}


@pytest.mark.parametrize(("asked", "used"), [(None, 60), (5, 5), (0.5, 0.5), (1e9, 60)])
def test_a_request_shortens_the_time_never_lengthens_it(make, asked, used):
    assert make().prepare("test.method", {}, timeout_s=asked).head["timeout_s"] == used


@pytest.mark.parametrize("asked", [0, -1, float("nan"), float("inf")])
def test_times_that_are_none(make, asked):
    assert refused(make(), {}, timeout_s=asked).code == "timeout_invalid"


def test_variables(make):
    properties = {
        "key": SECRET,
        "nested": {"properties": {"key": SECRET}},
        "pin": {"type": "integer", "writeOnly": True},
    }
    params = {
        "text": "a b\n'$x", "yes": True, "no": False, "n": 7, "f": 1.5, "big": 10**30, "empty": "", "_x1": "y",
        "null": None, "list": [1], "object": {"a": 1}, "a-b": "x", "1a": "x", "ä": "x", "a b": "x", "a=b": "x",
        "zero": "a\0b", "key": "hidden", "nested": {"key": "hidden"}, "pin": 7, "also_seven": 7, "same": "hidden",
    }  # fmt: skip
    call = make(properties=properties).prepare("test.method", params)
    found = {name[6:]: value for name, value in call.head["params"].items()}
    assert found == {"text": "a b\n'$x", "yes": "true", "no": "false", "n": "7", "f": "1.5", "big": str(10**30),
                     "empty": "", "_x1": "y", "also_seven": "7", "same": "hidden"}  # fmt: skip


def test_variables_fit_an_environment(make):
    params = {"fits": "x" * PARAM_BYTES, "over": "x" * (PARAM_BYTES + 1), "wide": "ä" * PARAM_BYTES, "last": "y"}
    params |= {f"n{number}": "x" * PARAM_BYTES for number in range(10)}
    environ = make().prepare("test.method", params).head["params"]
    assert environ["PARAM_fits"] == params["fits"]
    assert environ["PARAM_last"] == "y"
    assert not {"PARAM_over", "PARAM_wide"} & set(environ)
    assert sum(map(len, environ.values())) <= 128 << 10


@pytest.mark.parametrize("shared", [False, True])
def test_secrets_go_before_the_body_and_nowhere_else(make, shared):
    if shared:
        keys = {"properties": {"key": {"$ref": "#/$defs/key"}}, "$defs": {"key": SECRET}}
    else:
        keys = {"properties": {"key": SECRET}}
    call = make(**keys).prepare("test.method", {"key": "hidden", "open": "shown"})
    length = call.head["secrets"]
    assert json.loads(call.body[:length]) == ["hidden"]
    assert json.loads(call.body[length:]) == {"key": "hidden", "open": "shown"}
    assert "hidden" not in json.dumps(call.head)


def test_a_plugin_never_gets_defaults_that_its_schema_refuses_together(make):
    parts = {"a": {"default": 1}, "b": {}}
    dispatcher = make(request={"type": "object", "properties": parts, "not": {"required": ["a", "b"]}})
    assert dispatcher.prepare("test.method", {}).head["params"] == {"PARAM_a": "1"}
    error = refused(dispatcher, {"b": 1})
    assert (error.status, error.code) == (400, "request_invalid")
    assert error.message.startswith("test.method with its defaults: $: ")


def test_locks(make, monkeypatch):
    monkeypatch.setattr(devices, "whole_disk", lambda real: real.rstrip("0123456789"))
    monkeypatch.setattr(os.path, "realpath", lambda path, **_: {"/dev/by-id/x1": "/dev/sda1"}.get(path, path))
    dispatcher = make(effects="change", required=["d", "n"], locks=["disk:{d}", "bmc", "{n}-{n}"])
    for device in ("/dev/sda", "/dev/sda2", "/dev/by-id/x1"):
        assert dispatcher.prepare("test.method", {"d": device, "n": 5}).head["locks"] == ["disk:/dev/sda", "bmc", "5-5"]
    assert dispatcher.prepare("test.method", {"d": "text", "n": True}).head["locks"][0] == "disk:text"
    monkeypatch.setattr(devices, "mounted_at", lambda place: {"/mnt": "/dev/sda2"}.get(place, ""))
    locks = [dispatcher.prepare("test.method", {"d": place, "n": 5}).head["locks"][0] for place in ("/mnt", "/srv")]
    assert locks == ["disk:/dev/sda", "disk:/srv"], "a tree and its disk are one"
    numbers = [
        dispatcher.prepare("test.method", {"d": "x", "n": n}).head["locks"][2] for n in (5, 5.0, Decimal("5.00"))
    ]
    assert numbers == ["5-5"] * 3
    assert dispatcher.prepare("test.method", {"d": None, "n": 5}).head["locks"] == ["bmc", "5-5"]
    assert make(effects="destroy").prepare("test.method", {}).head["locks"] == ["node"]


@pytest.mark.parametrize("path", ["/dev/null", "//dev/null", "///dev/null", "/./dev/null", "/dev//null",
                                  "/dev/../dev/null", "/dev/null/", "/dev/./null"])  # fmt: skip
def test_a_device_has_one_lock_however_it_is_written(make, path):
    dispatcher = make(effects="change", required=["d"], locks=["disk:{d}"])
    assert dispatcher.prepare("test.method", {"d": path}).head["locks"] == ["disk:/dev/null"]
    assert dispatcher.prepare("test.method", {"d": path.replace("/dev", "/tmp")}).head["locks"] == ["disk:/tmp/null"]


@pytest.mark.parametrize("path", ["/dev/\0", "/\0x", "/tmp/\0", "a\0b", "\0"])
def test_a_path_that_no_file_can_have_is_refused(make, path):
    dispatcher = make(effects="change", required=["d"], locks=["disk:{d}"])
    error = refused(dispatcher, {"d": path})
    assert (error.status, error.code) == (400, "request_invalid")
    assert "contains a zero byte" in error.message


def test_a_plan_takes_no_lock_and_needs_no_device_but_the_manifest_must_know_it(make):
    dispatcher = make(effects="destroy", properties={"d": DISK}, supports=["plan"])
    head = dispatcher.prepare("test.method", {"d": "/dev/null"}, action="plan").head
    assert (head["action"], head["locks"]) == ("plan", [])
    assert "refused" not in head
    assert refused(make(), {}, action="plan").code == "action_unsupported"


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("effects", "reason"), [("read", None), ("change", "not a block"), ("destroy", "not a block")])
def test_devices_are_checked_before_anything_starts(make, effects, reason, shared):
    part, keys = ({"$ref": "#/$defs/disk"}, {"$defs": {"disk": DISK}}) if shared else (DISK, {})
    dispatcher = make(effects=effects, properties={"disks": {"type": "array", "items": part}}, **keys)
    refusal = dispatcher.prepare("test.method", {"disks": ["/dev/null"]}).head.get("refused")
    assert refusal is None if reason is None else reason in refusal
    assert "refused" not in dispatcher.prepare("test.method", {"disks": []}).head


def test_the_device_list_decides(make, monkeypatch):
    monkeypatch.setattr(devices, "refusal", lambda device, patterns: "" if device in patterns else f"{device}: no")
    dispatcher = make({"devices": ["/dev/a"]}, effects="destroy", properties={"d": DISK, "e": DISK})
    assert "refused" not in dispatcher.prepare("test.method", {"d": "/dev/a"}).head
    assert dispatcher.prepare("test.method", {"d": "/dev/a", "e": "/dev/b"}).head["refused"] == "/dev/b: no"
    assert "refused" not in dispatcher.prepare("test.method", {}).head


def test_an_unmodified_program(make):
    dispatcher = make(exec={"argv": ["show", "{n}"]}, required=["n"])
    call = dispatcher.prepare("test.method", {"n": 3})
    assert (call.head["argv"][1:], call.head["exec"], call.body) == (["show", "3"], True, b"")
    assert refused(dispatcher, {"n": -3}).problems[0].path == "$.n"
    fed = make(exec={"argv": [], "stdin": "request"}).prepare("test.method", {"n": 3})
    assert json.loads(fed.body) == {"n": 3}


def end_of(call, out=b"{}", **facts):
    head = {**call.head, "again": False, "reason": "done", "status": 0, "message": "", "started_at": 1.0,
        "ended_at": 2.0, "progress": None, "warnings": [], "events_bad": 0, **facts}  # fmt: skip
    return head, out


def test_the_verdict_uses_the_manifest_of_the_start_and_masks(make, tmp_path):
    dispatcher = make(properties={"key": SECRET})
    call = dispatcher.prepare("test.method", {"key": "hidden"})
    (tmp_path / "s/test.method.json").unlink()
    record = json.loads(dispatcher.judge(*end_of(call, b'{"got": "hidden"}', warnings=["saw hidden"])))
    assert (record["command_status"], record["command_result"]) == ("SUCCEEDED", {"got": "***"})
    assert record["warnings"] == ["saw ***"]


def test_a_restarted_front_takes_secrets_and_manifest_from_the_files(make, tmp_path):
    dispatcher = make(properties={"key": SECRET})
    call = dispatcher.prepare("test.method", {"key": "hidden"})
    base = tmp_path / "state/c" / call.id
    base.mkdir(parents=True)
    (base / "secrets").write_text('["hidden"]')
    (base / "log").write_text("<3>hidden failed\n")
    fresh = make(properties={"key": SECRET})
    record = json.loads(fresh.judge(*end_of(call, b"", status=1)))
    assert record["command_error"]["message"] == "*** failed (exit status 1)"
    assert (base / "log").read_text() == "<3>*** failed\n"
    assert fresh.secrets_of(call.id) == ["hidden"], "a front that dies now leaves it to the next"
    (tmp_path / "s/test.method.json").unlink()
    assert json.loads(fresh.judge(*end_of(call)))["command_error"]["type"] == "NoManifest"


def test_a_defect_of_ours_still_ends_the_command(make, monkeypatch):
    from agent_router.commands import dispatch

    monkeypatch.setattr(dispatch, "judge", lambda *_: 1 / 0)
    dispatcher = make()
    error = json.loads(dispatcher.judge(*end_of(dispatcher.prepare("test.method", {}))))["command_error"]
    assert (error["type"], error["code"]) == ("AgentDefect", 500)
    assert "ZeroDivisionError" in error["message"]


def test_what_is_remembered_is_bounded(make):
    dispatcher = make()
    for _ in range(REMEMBERED + 50):
        dispatcher.prepare("test.method", {})
    assert len(dispatcher.used) == REMEMBERED
