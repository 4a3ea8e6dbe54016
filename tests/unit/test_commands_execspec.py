import json
from decimal import Decimal

import pytest

from agent_router.commands.execspec import OUTCOMES, argv, extract, outcome, response
from agent_router.schema.jsontext import BadJSON
from agent_router.schema.problems import RequestError

SCHEMA = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["-fast", "slow"]}, "fixed": {"const": "-x"},
        "offset": {"type": "integer", "x-leading-dash": True},
        "any": True,
    },
}  # fmt: skip


def arguments(*templates, **request):
    return argv({"argv": [*templates]}, request, SCHEMA)


@pytest.mark.parametrize(("templates", "request_", "built"), [
    ([], {}, []),
    (["show", "J"], {"a": 1}, ["show", "J"]),
    (["/c{a}", "{a}/{b}"], {"a": 0, "b": "x y"}, ["/c0", "0/x y"]),
    (["{a}"], {"a": "; rm -rf / $(x) `y` 'z' \"q\" *"}, ["; rm -rf / $(x) `y` 'z' \"q\" *"]),
    (["{a}"], {"a": "{b}{a}\\1"}, ["{b}{a}\\1"]),
    (["{a}"], {"a": ""}, [""]),
    (["{a}"], {"a": True}, ["true"]),
    (["{a}"], {"a": False}, ["false"]),
    (["{a}"], {"a": None}, ["null"]),
    (["{a}"], {"a": 1.5}, ["1.5"]),
    (["{a}"], {"a": Decimal("0.1000000000000000000001")}, ["0.1000000000000000000001"]),
    (["{a}"], {"a": [1, "ä", {"b": None}]}, ['[1,"ä",{"b":null}]']),
    (["{not a key}", "{}", "{1}"], {}, ["{not a key}", "{}", "{1}"]),
    (["--{a}", "x-{a}"], {"a": "-y"}, ["---y", "x--y"]),
    ([{"when": "a", "argv": ["-a", "{a}"]}], {"a": "x"}, ["-a", "x"]),
    ([{"when": "a", "argv": ["-a", "{a}"]}], {"a": 0}, ["-a", "0"]),
    ([{"when": "a", "argv": ["-a", "{a}"]}], {"a": ""}, ["-a", ""]),
    ([{"when": "a", "argv": ["-a"]}], {"a": True}, ["-a"]),
    ([{"when": "a", "argv": ["-a"]}], {"a": False}, []),
    ([{"when": "a", "argv": ["-a"]}], {"a": None}, []),
    ([{"when": "a", "argv": ["-a"]}, "end"], {}, ["end"]),
    (["{mode}", "{fixed}", "{offset}"], {"mode": "-fast", "fixed": "-x", "offset": -5}, ["-fast", "-x", "-5"]),
])  # fmt: skip
def test_argument_vectors(templates, request_, built):
    assert arguments(*templates, **request_) == built


@pytest.mark.parametrize(("template", "request_", "path"), [
    ("{a}", {"a": "-rf"}, "$.a"),
    ("{a}", {"a": -1}, "$.a"),
    ("{a}x", {"a": "-"}, "$.a"),
    ("{a}{b}", {"a": "", "b": "-rf"}, "$.b"),
    ("{mode}", {"mode": "-slow"}, "$.mode"),
    ("{any}", {"any": "-x"}, "$.any"),
    ("x{a}", {"a": "a\0b"}, "$.a"),
])  # fmt: skip
def test_values_that_are_refused(template, request_, path):
    for element in (template, {"when": path[2:], "argv": [template]}):
        with pytest.raises(RequestError) as caught:
            arguments(element, **request_)
        assert (caught.value.status, caught.value.code) == (400, "request_invalid")
        assert [problem.path for problem in caught.value.problems] == [path]


@pytest.mark.parametrize(("spec", "status", "meaning"), [
    ({}, 0, "ok"), ({}, 1, "failed"), ({}, -9, "failed"),
    ({"exit_codes": {"0": "ok", "46": "partial", "*": "retry"}}, 46, "partial"),
    ({"exit_codes": {"0": "ok", "46": "partial", "*": "retry"}}, 47, "retry"),
    ({"exit_codes": {"1": "ok"}}, 0, "failed"),
    ({"exit_codes": {"0": "failed"}}, 0, "failed"),
    ({"exit_bits": {"0": "failed", "2": "partial", "3": "unchanged"}}, 0, "ok"),
    ({"exit_bits": {"0": "failed", "2": "partial", "3": "unchanged"}}, 0b10, "ok"),
    ({"exit_bits": {"0": "failed", "2": "partial", "3": "unchanged"}}, 0b1100, "partial"),
    ({"exit_bits": {"0": "failed", "2": "partial", "3": "unchanged"}}, 0b1101, "failed"),
    ({"exit_bits": {"7": "refused"}}, 255, "refused"),
    ({"exit_bits": {"0": "ok"}}, -11, "failed"),
])  # fmt: skip
def test_exit_status_to_outcome(spec, status, meaning):
    assert outcome(spec, status) == meaning
    assert meaning in OUTCOMES


def test_the_worst_bit_counts_whatever_its_place():
    for number, worse in enumerate(OUTCOMES):
        for better in OUTCOMES[: number + 1]:
            assert outcome({"exit_bits": {"0": worse, "1": better}}, 3) == worse
            assert outcome({"exit_bits": {"0": better, "1": worse}}, 3) == worse


@pytest.mark.parametrize(("spec", "out", "value"), [
    ({}, b' {"a": 1}\n', {"a": 1}),
    ({"stdout": "json"}, b"[]", []),
    ({"stdout": "none"}, b"\xff whatever", {}),
    ({"stdout": "raw"}, b"a\xffb\n", {"text": "a\ufffdb\n"}),
    ({"stdout": "raw"}, b"", {"text": ""}),
    ({"stdout": "lines"}, b"one\n\ntwo\r\nthree", {"lines": ["one", "", "two", "three"]}),
    ({"stdout": "lines"}, b"", {"lines": []}),
    ({"stdout": "regex", "regex": r"^v(?P<major>\d+)(\.(?P<minor>\d+))?$"}, b"banner\nv12\n", {"major": "12"}),
    ({"stdout": "regex", "regex": r"(?P<a>\w)=(?P<b>\w*)"}, b"x=1 y=2", {"a": "x", "b": "1"}),
    ({"stdout": "extract"}, b'warning: {x}\n{"a": [1, {"b": 2}]}\nbye', {"a": [1, {"b": 2}]}),
])  # fmt: skip
def test_output_to_response(spec, out, value):
    assert response(spec, out) == value


@pytest.mark.parametrize(("spec", "out", "sentence"), [
    ({}, b"", "not JSON"),
    ({}, b"banner\n{}", "not JSON"),
    ({}, b"{} {}", "Extra data"),
    ({"stdout": "regex", "regex": "(?P<a>x)"}, b"yyy", "does not match the manifest's regex"),
    ({"stdout": "extract"}, b"no json here: 5", "no complete JSON object or array"),
    ({"stdout": "extract"}, b'{"a": [1, 2', "no complete JSON object or array"),
    ({"stdout": "extract"}, b'{"a": NaN}', "NaN is not JSON"),
    ({"stdout": "extract"}, b'{"a": 1, "a": 2}', "stands twice"),
])  # fmt: skip
def test_output_that_is_no_response(spec, out, sentence):
    with pytest.raises(BadJSON, match=sentence):
        response(spec, out)


@pytest.mark.parametrize(("text", "value"), [
    ("{}", {}), ("[]", []), ("{} [1]", [1]), ('[1] {"a": 1} tail', {"a": 1}), ("{{}}", {}), ("[[1], [2]]", [[1], [2]]),
    ('{"a": "}{"} x', {"a": "}{"}), ('] } {"a": 1', None), ('{"whole": 1} {"cut": [1, 2]', [1, 2]),
    ("ä {\"ö\": 1} ü", {"ö": 1}),
])  # fmt: skip
def test_the_last_complete_value_is_extracted(text, value):
    if value is None:
        with pytest.raises(BadJSON):
            extract(text)
    else:
        assert extract(text) == value


@pytest.mark.parametrize("text", ["[", "[{", '{"a":', "[1,", '[{"a":[1,2,'])
def test_very_many_open_brackets_are_given_up_soon(text, monkeypatch):
    """The verdict is given in the loop that serves everybody: to try each of a megabyte would take it minutes."""
    tried, decode = [], json.JSONDecoder.raw_decode
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", lambda *given: tried.append("") or decode(*given))
    times = (1 << 18) // len(text)
    with pytest.raises(BadJSON):
        extract(text * times)
    assert len(tried) < times // 2


def test_json_after_many_lines_with_brackets_is_found():
    assert extract("[info] x [y\n" * 20_000 + '{"a": 1}') == {"a": 1}
