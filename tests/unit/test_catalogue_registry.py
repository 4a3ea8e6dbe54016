import json
import os
import time

import pytest

from agent_router.catalogue.method import Method
from agent_router.catalogue.registry import TICK_NS, Registry
from agent_router.schema.problems import RequestError

MANIFEST = {
    "protocol": 1,
    "title": "A test",
    "version": "1",
    "effects": "read",
    "request": {"type": "object"},
    "response": {},
}


class World:
    """Two pairs of directories, and a registry over them."""

    def __init__(self, root):
        self.plugins, self.schemas = [root / "p1", root / "p2"], [root / "s1", root / "s2"]
        for directory in (*self.plugins, *self.schemas):
            directory.mkdir(mode=0o700)
        self.registry = Registry(self.plugins, self.schemas)

    def plugin(self, name, script="#!/bin/sh\n", pair=0):
        path = self.plugins[pair] / name
        path.write_text(script)
        path.chmod(0o700)
        return path

    def manifest(self, name, pair=0, **keys):
        path = self.schemas[pair] / f"{name}.json"
        path.write_text(json.dumps({**MANIFEST, **keys}))
        path.chmod(0o600)
        return path

    def states(self):
        return {method.name: method.state for method in self.registry.all()}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_no_directories_at_all(tmp_path):
    registry = Registry([tmp_path / "gone"], [tmp_path / "gone too"])
    assert registry.all() == []
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone/a.b").touch()
    assert [method.name for method in registry.all()] == ["a.b"]


def test_each_change_is_seen_by_the_next_look(world):
    world.plugin("a.b")
    assert world.states() == {"a.b": "incomplete"}
    manifest = world.manifest("a.b")
    assert world.states() == {"a.b": "ready"}
    world.manifest("c.d", pair=1)
    assert world.states() == {"a.b": "ready", "c.d": "incomplete"}
    world.plugin("c.d")
    assert world.states() == {"a.b": "ready", "c.d": "ready"}
    manifest.unlink()
    assert world.states() == {"a.b": "incomplete", "c.d": "ready"}
    (world.plugins[0] / "a.b").unlink()
    assert world.states() == {"c.d": "ready"}


def test_files_within_one_clock_tick_are_seen(world):
    """The mtime of a directory need not differ between two changes."""
    seen = 0
    for number in range(50):
        tick = time.time_ns()
        os.utime(world.plugins[0], ns=(tick, tick))
        world.registry.names()
        world.plugin(f"x.n{number}")
        if time.time_ns() - tick < TICK_NS // 2:  # else this was no tick, on a machine that is busy
            os.utime(world.plugins[0], ns=(tick, tick))
            seen += 1
        assert f"x.n{number}" in world.registry.names()
    assert seen


def test_an_old_directory_is_not_read_again(world, monkeypatch):
    world.plugin("a.b")
    world.manifest("a.b")
    for directory in (*world.plugins, *world.schemas):
        os.utime(directory, (1, 1))
    assert world.registry.find("a.b").state == "ready"
    reads = []
    monkeypatch.setattr(os, "listdir", reads.append)
    for _ in range(10):
        assert world.registry.find("a.b").state == "ready"
    assert reads == []


def test_an_edit_in_place_counts(world):
    world.plugin("a.b")
    world.manifest("a.b", timeout_s=5)
    assert world.registry.find("a.b").usable().timeout_s == 5
    world.manifest("a.b", timeout_s=77)
    assert world.registry.find("a.b").usable().timeout_s == 77
    world.manifest("a.b", timeout_s="soon")
    assert world.registry.find("a.b").state == "invalid"
    world.manifest("a.b", timeout_s=9)
    assert world.registry.find("a.b").usable().timeout_s == 9


def test_an_unchanged_method_is_not_judged_again(world, monkeypatch):
    world.plugin("a.b")
    world.manifest("a.b")
    world.registry.find("a.b")
    monkeypatch.setattr(Method, "_judge", None)
    assert world.registry.find("a.b").state == "ready"


@pytest.mark.parametrize("kind", ["plugin", "manifest"])
def test_a_name_that_exists_twice(world, kind):
    world.plugin("a.b")
    world.manifest("a.b")
    second = getattr(world, kind)("a.b", pair=1)
    method = world.registry.find("a.b")
    assert method.state == "invalid"
    first = world.plugins[0] / "a.b" if kind == "plugin" else world.schemas[0] / "a.b.json"
    assert f"{first} and {second}" in method.reason
    second.unlink()
    assert world.registry.find("a.b").state == "ready"


def test_one_directory_given_twice_is_one(tmp_path):
    world = World(tmp_path)
    world.plugin("a.b")
    world.manifest("a.b")
    registry = Registry([world.plugins[0], world.plugins[0]], [world.schemas[0], tmp_path / "p1/../s1"])
    assert registry.find("a.b").state == "ready"


def test_backup_files_are_listed_as_ignored(world):
    names = [".hidden", "a.b~", "#a.b#", "a.b.swp", "a.b.bak", "a.b.orig", "a.b.tmp", "a.b.rpmsave", "a.b.rpmnew",
             "a.b.dpkg-old", "README.md", "__pycache__"]  # fmt: skip
    for name in names:
        world.plugin(name)
    assert world.states() == dict.fromkeys(names, "ignored")
    assert all(method.reason for method in world.registry.all())
    world.plugin("a.bakery")
    assert world.states()["a.bakery"] == "incomplete"


@pytest.mark.parametrize(("name", "hint"), [
    ("disk.wpie", "did you mean disk.wipe"), ("disk", "did you mean"), ("zzz.qqq", "GET /v1/methods lists all"),
    ("x" * 100_000, "GET /v1/methods lists all"),
])  # fmt: skip
def test_an_unknown_name_is_answered_with_the_nearest(world, name, hint):
    for known in ("disk.wipe", "disk.erase", "image.write"):
        world.plugin(known)
    with pytest.raises(RequestError) as caught:
        world.registry.find(name)
    assert (caught.value.status, caught.value.code) == (404, "method_unknown")
    assert hint in caught.value.message
    assert len(caught.value.message) < 250


def test_a_plugin_that_goes_away_during_a_listing_does_not_spoil_it(world, monkeypatch):
    for name in ("a.b", "c.d"):
        world.plugin(name)
        world.manifest(name)
    world.registry.names()
    refresh = Method.refresh

    def refresh_and_remove(method, search_path):
        refresh(method, search_path)
        (world.plugins[0] / "c.d").unlink(missing_ok=True)

    monkeypatch.setattr(Method, "refresh", refresh_and_remove)
    assert [method.name for method in world.registry.all()] == ["a.b", "c.d"]


def test_a_directory_that_others_may_write_is_noticed_at_once(world):
    world.plugin("a.b")
    world.manifest("a.b")
    for directory in (*world.plugins, *world.schemas):
        os.utime(directory, (1, 1))
    assert world.states() == {"a.b": "ready"}
    world.plugins[0].chmod(0o777)
    method = world.registry.find("a.b")
    assert (method.state, method.reason[-len(f"chmod go-w {world.plugins[0]}") :]) == (
        "untrusted",
        f"chmod go-w {world.plugins[0]}",
    )
    world.plugins[0].chmod(0o700)
    assert world.states() == {"a.b": "ready"}


STEP = {"interface": "deploy", "step": "erase", "phases": ["clean"]}


def offer(world, name, **keys):
    world.plugin(name)
    world.manifest(name, steps=[STEP], **keys)


def test_two_plugins_with_one_step_are_both_invalid(world):
    offer(world, "acme.erase")
    offer(world, "bolt.erase")
    assert world.states() == {"acme.erase": "invalid", "bolt.erase": "invalid"}
    assert world.registry.find("acme.erase").reason == "bolt.erase offers the step deploy.erase too; remove one of them"
    with pytest.raises(RequestError, match=r"acme\.erase offers the step deploy\.erase too"):
        world.registry.find("bolt.erase").usable()


def test_a_rival_that_went_away_or_is_for_other_hardware_harms_nobody(world):
    offer(world, "acme.erase")
    offer(world, "bolt.erase")
    assert world.states()["acme.erase"] == "invalid"
    world.manifest("bolt.erase", steps=[STEP], match=[{"dmi": {"sys_vendor": "No such vendor"}}])
    assert world.states() == {"acme.erase": "ready", "bolt.erase": "not_for_this_hardware"}
    (world.plugins[0] / "bolt.erase").unlink()
    assert world.registry.find("acme.erase").usable().steps == (("deploy", "erase"),)


def test_other_steps_are_no_rivals(world):
    offer(world, "acme.erase")
    world.plugin("bolt.erase")
    world.manifest("bolt.erase", steps=[{**STEP, "interface": "raid"}, {**STEP, "step": "other"}])
    assert set(world.states().values()) == {"ready"}
