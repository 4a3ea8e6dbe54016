import json
import os

import pytest

from agent_router.runner import events as reports
from agent_router.runner.command import Command
from agent_router.runner.events import BURST, MAX_LINE, MAX_WARNINGS


class Plugin:
    """A command with an events file, and the means to write to it as a plugin does."""

    def __init__(self, base):
        self.base, self.base_path = str(base), base
        self.command = Command({"id": "1", "name": "a.b"}, b"")
        self.open()

    def open(self):
        self.command.events = os.open(self.base + "/events", os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def write(self, *lines):
        for line in lines:
            text = line if isinstance(line, bytes) else json.dumps(line).encode()
            os.write(self.command.events, text + b"\n")

    def read(self, **options):
        return reports.read(self.command, self.base, **options)

    def stream(self):
        try:
            with open(self.base + "/stream") as file:
                return [json.loads(line) for line in file]
        except FileNotFoundError:
            return []

    def said(self, kind):
        return [record["data"] for record in self.stream() if record["event"] == kind]


@pytest.fixture
def plugin(tmp_path):
    return Plugin(tmp_path)


def test_each_kind_of_event(plugin):
    plugin.write(
        {"done": 1, "total": 2, "unit": "MiB", "extra": [1]}, {"warn": "careful"}, {"critical": True}, {"own": 5}
    )
    assert plugin.read() is False
    assert [(record["seq"], record["event"], record["data"]) for record in plugin.stream()] == [
        (1, "progress", {"done": 1, "total": 2, "unit": "MiB", "extra": [1]}),
        (2, "warning", {"warn": "careful"}),
        (3, "critical", {"critical": True}),
        (4, "other", {"own": 5}),
    ]
    command = plugin.command
    assert (command.progress["done"], command.warnings, command.critical, command.events_bad) == (
        1,
        ["careful"],
        True,
        0,
    )


def test_a_line_counts_when_it_is_whole(plugin):
    os.write(plugin.command.events, b'{"done": 1}\n{"do')
    plugin.read()
    plugin.read()
    assert plugin.said("progress") == [{"done": 1}]
    os.write(plugin.command.events, b'ne": 2}\n')
    plugin.read()
    assert plugin.said("progress") == [{"done": 1}, {"done": 2}]
    assert plugin.command.events_bad == 0


@pytest.mark.parametrize("line", [
    b"", b"text", b"5", b"[1]", b'"x"', b"null", b"{", b'{"a": 1} x', b"\xff", b'{"done": "\xff"}', b'{"done": NaN}',
    b'{"done": 1e999}', b'{"done": 1, "total": -Infinity}', b'{"warn": "\\ud800"}', b"[" * 10_000, b'{"a":' * 5000,
    b'{"done": 1' + b"0" * 400 + b"}", b'{"done": 1, "x": [-1' + b"0" * 400 + b"]}",
    b'{"done": 1, "x": ' + b"[" * 64 + b"]" * 64 + b"}", b'{"x": ' + b'{"a":' * 900 + b"1" + b"}" * 901,
    b'{"done": 1' + b"0" * 5000 + b"}", b'{"warn": "' + b"x" * MAX_LINE + b'"}',
])  # fmt: skip
def test_a_bad_line_is_counted_and_harms_nothing(plugin, line):
    plugin.write({"done": 1}, line, {"done": 2})
    plugin.read()
    assert plugin.command.events_bad == 1
    assert plugin.said("progress") == [{"done": 1}, {"done": 2}]
    assert plugin.command.warnings == []


def test_what_a_request_may_be_an_event_may_be_too(plugin):
    deepest = json.loads("[" * 63 + "]" * 63)
    plugin.write({"done": 10**308, "x": deepest})
    plugin.read()
    assert plugin.command.progress == {"done": 10**308, "x": deepest}


@pytest.mark.parametrize("written", [2000, 3000])
@pytest.mark.parametrize("before", range(1950, 2000, 7))
def test_no_half_of_a_secret_is_left_where_a_warning_is_cut(plugin, written, before):
    """Up to 2,000 characters arrive from the helpers, more from others."""
    (plugin.base_path / "secrets").write_text('["topsecret-0123456789"]')
    plugin.write({"warn": ("u" * before + "topsecret-0123456789" * 3 + "v" * 1000)[:written]})
    plugin.read()
    (warning,) = plugin.command.warnings
    assert warning.startswith("u" * before)
    assert "tops" not in warning
    assert len(warning) <= 2000
    assert plugin.said("warning") == [{"warn": warning}]


@pytest.mark.parametrize(
    "event", [{"done": "5"}, {"done": True}, {"done": None}, {"critical": 1}, {"critical": "on"}, {"warn": 5}, {}]
)
def test_values_of_a_wrong_type_mean_nothing(plugin, event):
    plugin.write(event)
    plugin.read()
    assert (plugin.command.progress, plugin.command.warnings, plugin.command.critical) == (None, [], False)
    assert plugin.said("progress") == plugin.said("warning") == []


def test_the_end_of_a_critical_section_is_told_once(plugin):
    plugin.write({"critical": True})
    assert plugin.read() is False
    plugin.write({"critical": True})
    assert plugin.read() is False
    plugin.write({"critical": False})
    assert plugin.read() is True
    assert plugin.read() is False
    plugin.write({"critical": True}, {"critical": False})
    assert plugin.read() is False
    assert [item["critical"] for item in plugin.said("critical")] == [True, False, True, False]


def test_progress_is_limited_in_rate_but_the_latest_counts(plugin, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    for number in range(150):
        plugin.write({"done": number})
    plugin.read()
    assert len(plugin.said("progress")) == BURST
    assert plugin.command.progress == {"done": 149}
    now[0] += 0.5
    for number in range(150, 300):
        plugin.write({"done": number})
    plugin.read()
    assert len(plugin.said("progress")) == BURST + 10
    plugin.write({"warn": "a warning is not progress"}, {"critical": True})
    plugin.read()
    assert len(plugin.said("warning")) == len(plugin.said("critical")) == 1


def test_warnings_are_bounded(plugin):
    plugin.write(*({"warn": f"{number} " + "x" * 3000} for number in range(MAX_WARNINGS + 50)))
    plugin.read()
    assert len(plugin.command.warnings) == len(plugin.said("warning")) == MAX_WARNINGS
    assert plugin.command.warnings[0].startswith("0 ")
    assert {len(text) for text in plugin.command.warnings} == {2000}


def test_a_flood_loses_neither_critical_sections_nor_warnings_nor_the_latest(plugin):
    filler = [b'{"done": 1}'] * 20_000
    plugin.write(b"\n".join([*filler, b'{"critical": true}', *filler, b'{"warn": "heard"}', *filler, b'{"done": 7}']))
    for _ in range(10):
        plugin.read()
    command = plugin.command
    assert (command.critical, command.warnings, command.progress) == (True, ["heard"], {"done": 7})
    assert command.events_bad > 50_000


def test_the_file_of_a_flood_gives_its_memory_back(plugin):
    line = json.dumps({"done": 1, "message": "x" * 10_000}).encode()
    for _ in range(20):
        plugin.write(b"\n".join([line] * 100))
        plugin.read()
    plugin.write({"done": 99})
    plugin.read(last=True)
    assert plugin.command.progress == {"done": 99}
    assert os.fstat(plugin.command.events).st_blocks * 512 < 8 << 20
    assert os.stat(plugin.base + "/stream").st_size < 3 << 20


def test_one_endless_line_is_passed_over(plugin):
    for _ in range(3):
        os.write(plugin.command.events, b"x" * (1 << 20))
        plugin.read()
    plugin.write(b"end", {"done": 5})
    plugin.read(last=True)
    assert plugin.command.progress == {"done": 5}


def test_a_new_runner_goes_on_where_the_stream_ends(plugin, tmp_path):
    plugin.write({"done": 1}, {"warn": "one"}, {"critical": True})
    plugin.read()
    reports.say(plugin.command, plugin.base, "state", {"state": "terminating", "reason": "timeout"})
    again = Plugin(tmp_path)
    reports.resume(again.command, again.base)
    command = again.command
    assert (command.warnings, command.critical, command.progress, command.ending) == (
        ["one"],
        True,
        {"done": 1},
        "timeout",
    )
    again.write({"warn": "two"})
    again.read()
    assert command.warnings == ["one", "two"]
    assert [record["seq"] for record in again.stream()] == [1, 2, 3, 4, 5]


def test_without_an_events_file_there_is_nothing_to_read(plugin):
    os.close(plugin.command.events)
    plugin.command.events = -1
    assert plugin.read() is False
