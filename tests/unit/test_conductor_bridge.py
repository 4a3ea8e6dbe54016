"""Ironic's step commands become calls of plugins; the manifests alone say which."""

import json

import pytest

from agent_router.catalogue.registry import Registry
from agent_router.commands.calls import Answer, Translated
from agent_router.conductor import bridge
from agent_router.schema.problems import RequestError

WRITE = {
    "protocol": 1, "title": "t", "version": "1", "effects": "destroy", "response": {},
    "request": {
        "type": "object", "required": ["image_info"],
        "properties": {
            "image_info": {"type": "object", "description": "The image"}, "root": {"type": "object"},
            "address": {"type": "string"},
        },
    },
    "steps": [{
        "interface": "deploy", "step": "write_image", "phases": ["deploy"],
        "input": {"root": "/node/properties/root_device", "address": "/ports/0/address"}, "result": "/text",
    }],
}  # fmt: skip
ERASE = {
    "protocol": 1, "title": "t", "version": "1", "effects": "destroy", "response": {}, "request": {"type": "object"},
    "steps": [
        {"interface": "deploy", "step": "erase", "phases": ["clean", "service"], "priority": {"clean": 10}},
        {"interface": "raid", "step": "first", "phases": ["clean"], "priority": {"clean": 90}, "abortable": False,
         "reboot_requested": True},
    ],
}  # fmt: skip
NODE = {"uuid": "u", "properties": {"root_device": {"serial": "S1"}}, "driver_internal_info": {"agent_secret": "x"}}


@pytest.fixture
def registry(tmp_path):
    for kind in ("plugins.d", "schemas"):
        (tmp_path / kind).mkdir(mode=0o700)
    add(tmp_path, "deploy.write_image", WRITE)
    add(tmp_path, "deploy.erase", ERASE)
    return Registry([tmp_path / "plugins.d"], [tmp_path / "schemas"], "/usr/bin")


def add(directory, name, manifest):
    path = directory / "plugins.d" / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    (directory / "schemas" / f"{name}.json").write_text(json.dumps(manifest))


def execute(registry, phase, step, **more):
    params = {"step": step, "node": NODE, "ports": [{"address": "52:54:00:aa:00:01"}], **more}
    return bridge.translate(registry, f"{phase}.execute_{phase}_step", params)


def test_the_list_of_steps_is_in_ironics_form(registry):
    answer = bridge.translate(registry, "clean.get_clean_steps", {"node": NODE, "ports": []})
    assert answer.result["clean_steps"] == {
        "agent-router": [
            {"step": "first", "interface": "raid", "priority": 90, "reboot_requested": True, "abortable": False},
            {"step": "erase", "interface": "deploy", "priority": 10, "reboot_requested": False, "abortable": True},
        ]
    }
    assert set(answer.result) == {"clean_steps", "hardware_manager_version"}
    for phase in ("deploy", "service"):
        assert len(bridge.step_list(registry, phase)[f"{phase}_steps"]["agent-router"]) == 1


def test_arguments_that_the_node_gives_are_not_asked_of_the_user(registry):
    [step] = bridge.step_list(registry, "deploy")["deploy_steps"]["agent-router"]
    assert step["argsinfo"]["image_info"] == {"description": "The image", "required": True}
    assert step["argsinfo"]["root"]["required"] is False


@pytest.mark.parametrize(
    "name",
    ["clean.get_deploy_steps", "clean.get_clean_step_", "deploy.write_image", "verify.get_verify_steps", "x.y"],
)
def test_other_names_are_not_step_commands(registry, name):
    assert bridge.translate(registry, name, {}) is None


def test_a_step_becomes_the_call_of_its_plugin(registry):
    step = {"step": "write_image", "interface": "deploy", "priority": 80, "args": {"image_info": {"password": "p"}}}
    meant = execute(registry, "deploy", step)
    assert isinstance(meant, Translated)
    assert meant.name == "deploy.write_image"
    assert meant.params == {
        "image_info": {"password": "p"},
        "root": {"serial": "S1"},
        "address": "52:54:00:aa:00:01",
    }
    shown = meant.shown
    assert (shown["name"], shown["key"], shown["pointer"]) == ("deploy.execute_deploy_step", "deploy_result", "/text")
    assert shown["beside"] == {"deploy_step": {"step": "write_image", "interface": "deploy", "priority": 80}}


@pytest.mark.parametrize("inner", ["H4sI", "other", None])
def test_a_config_drive_that_stands_twice_is_given_once(registry, inner):
    info = {"urls": [], "configdrive": inner}
    step = {"step": "write_image", "interface": "deploy", "args": {"image_info": info, "configdrive": "H4sI"}}
    params = execute(registry, "deploy", step).params
    assert params["configdrive"] == "H4sI"
    assert params["image_info"] == ({"urls": []} if inner == "H4sI" else info)
    assert info == {"urls": [], "configdrive": inner}


def test_arguments_win_over_what_the_node_says(registry):
    step = {"step": "write_image", "interface": "deploy", "args": {"image_info": {}, "root": {"name": "/dev/sdb"}}}
    assert execute(registry, "deploy", step).params["root"] == {"name": "/dev/sdb"}


@pytest.mark.parametrize(("node", "ports"), [(None, None), ({}, {}), ({"properties": None}, [])])
def test_what_the_node_does_not_say_is_left_out(registry, node, ports):
    step = {"step": "write_image", "interface": "deploy", "args": {"image_info": {}}}
    assert execute(registry, "deploy", step, node=node, ports=ports).params == {"image_info": {}}


def test_a_changed_catalogue_is_a_mismatch_except_in_deploy(registry, tmp_path):
    before = bridge.version(registry)
    step = {"step": "erase", "interface": "deploy"}
    assert isinstance(execute(registry, "clean", step, clean_version=before), Translated)
    assert isinstance(execute(registry, "clean", step, clean_version=None), Translated)
    add(tmp_path, "acme.late", {**ERASE, "steps": [{"interface": "deploy", "step": "late", "phases": ["clean"]}]})
    assert bridge.version(registry) != before
    answer = execute(registry, "clean", step, clean_version=before)
    assert isinstance(answer, Answer)
    assert answer.status == "CLEAN_VERSION_MISMATCH"
    write = {"step": "write_image", "interface": "deploy", "args": {"image_info": {}}}
    assert isinstance(execute(registry, "deploy", write, deploy_version=before), Translated)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (None, "must be an object"),
        ({"interface": "deploy"}, "must be an object"),
        ({"step": "first", "interface": "deploy"}, "step deploy.first; it offers: raid.first, deploy.erase"),
        ({"step": "write_image", "interface": "deploy"}, "no plugin in this ramdisk offers the clean step"),
        ({"step": "erase", "interface": "deploy", "args": [1]}, "must be an object"),
    ],
)
def test_a_step_that_cannot_be_called(registry, step, sentence):
    with pytest.raises(RequestError, match=sentence) as caught:
        execute(registry, "clean", step)
    assert caught.value.status == 400
