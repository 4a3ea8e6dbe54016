import json
from decimal import Decimal

import pytest

from agent_router.plugin.masking import masker
from agent_router.schema import annotations, dialect, validation
from agent_router.schema.pointer import resolve
from agent_router.schema.validation import MAX_MESSAGE, MAX_PROBLEMS, TakesLong, Validator, schema_problems, shorten

BIG = 10**400
DRAFT = "https://json-schema.org/draft/2020-12/schema"


@pytest.fixture(params=["jsonschema-rs", "jsonschema"])
def library(request, monkeypatch):
    """Each test runs with the fast validator and, as on a machine that lacks it, without."""
    if request.param == "jsonschema":
        for module in (dialect, validation):
            monkeypatch.setattr(module, "fast_library", lambda: None)
        dialect.matcher.cache_clear()
    elif validation.fast_library() is None:
        pytest.skip("jsonschema-rs is not installed")


# (schema, valid documents, documents that are not)
CORPUS = [
    ({"type": "integer"}, [1, 1.0, 10**30, -BIG, Decimal("100000000000000000000000.0")],
     [1.5, True, "1", None, Decimal("0.1000000000000000000001")]),
    ({"type": "number"}, [1, 0.5, BIG, Decimal("0.1000000000000000000001")], [True, "1"]),
    ({"type": ["string", "null"]}, ["", None], [0, False, []]),
    ({"maximum": 5}, [5, 5.0, -BIG, "text"], [6, Decimal("5.00000000000000000000001"), BIG]),
    ({"maximum": 2**64}, [2**64], [2**64 + 1]),
    ({"exclusiveMinimum": 2**53}, [2**53 + 1], [2**53]),
    ({"minimum": BIG}, [BIG, BIG + 1], [5, BIG - 1]),
    ({"multipleOf": 0.1}, [0.3, 0.7, 1, 0, 19.9], [0.35, Decimal("0.3000000000000000000001")]),
    ({"multipleOf": 0.01}, [19.99, 4.35, 1.1], [19.995]),
    ({"multipleOf": 512}, [0, 512, 2**70], [513, 0.5, 2**70 + 1]),
    ({"const": 1}, [1, 1.0], [True, "1", 2]),
    ({"const": BIG}, [BIG], [BIG + 1]),
    ({"enum": [0, None, [0]]}, [0, 0.0, None, [0]], [False, "", [False]]),
    ({"uniqueItems": True}, [[1, True, "1", None], [[1], [True]], [{"a": 1}, {"a": 2}], []],
     [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [[], []]]),
    ({"minLength": 2}, ["ab", "😀😀"], ["a", "😀"]),
    ({"maxLength": 1}, ["😀", "e"], ["e\u0301"]),
    ({"format": "ipv4"}, ["no address", "10.0.0.1"], []),
    ({"format": "date-time"}, ["yesterday"], []),
    ({"format": "block-device", "type": "string"}, ["sda"], [5]),
    ({"contentEncoding": "base64"}, ["!"], []),
    # Regular expressions are those of the standard (ECMA 262): ASCII classes, no match before a last line break.
    ({"pattern": "^\\d+$"}, ["12"], ["٣", "12\n", ""]),
    ({"pattern": "^\\D$"}, ["a", "٣"], ["1"]),
    ({"pattern": "^\\w+$"}, ["a_1"], ["ä", "a-"]),
    ({"pattern": "^[\\w-]+$"}, ["a-1"], ["ä"]),
    ({"pattern": "^[^\\d$]$"}, ["a", "٣", "^"], ["1", "$"]),
    ({"pattern": "^[\\]$]\\$$"}, ["$$", "]$"], ["a$", "$"]),
    ({"not": {"pattern": "^a$"}}, ["a\n", "b"], ["a"]),
    ({"pattern": "^(?:[^\\s/]+|/dev/[^\\s]+)$"}, ["sda", "/dev/sda"], ["/dev/sd a", "a b"]),
    ({"pattern": "^https?://[^/?#@\\s]+(/\\S*)?$"}, ["http://a/b?c"], ["http://a b", "ftp://a", "http://a@b/"]),
    # What only Python's regular expressions know is left to jsonschema by both.
    ({"pattern": "\\A(?P<x>[ab])(?P=x)\\Z"}, ["aa", "bb"], ["ab", "aaa"]),
    ({"pattern": "a(?#comment)b"}, ["ab"], ["a"]),
    ({"patternProperties": {"^\\d$": {"type": "integer"}}, "additionalProperties": False}, [{"1": 1}, {}],
     [{"1": "a"}, {"٣": 1}, {"1\n": 1}]),
    ({"propertyNames": {"pattern": "^\\S+$"}}, [{"a": 1}], [{"a b": 1}]),
    ({"dependentRequired": {"a": ["b"]}}, [{"b": 1}, {"a": 1, "b": 2}], [{"a": 1}]),
    ({"$ref": "#/$defs/list", "$defs": {"list": {"properties": {"next": {"$ref": "#/$defs/list"},
        "n": {"type": "null"}}}}},
     [{"next": {"next": {}}}], [{"next": {"next": {"n": 1}}}]),
    ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, [["a", 1], []], [[1], ["a", "b"]]),
    ({"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, [{"a": 1}], [{"b": 1}]),
    ({"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "then": {"required": ["b"]}},
     [{"a": 1, "b": 1}, {"a": 2}], [{"a": 1}]),
    ({"contains": {"type": "integer"}, "minContains": 2}, [[1, 2]], [[1, "a"]]),
]  # fmt: skip


@pytest.mark.parametrize("schema", [row[0] for row in CORPUS], ids=json.dumps)
def test_both_libraries_give_the_verdict_of_the_standard(library, schema):
    valid, wrong = next(row[1:] for row in CORPUS if row[0] is schema)
    assert schema_problems(schema, "$") == []
    validator = Validator(schema)
    assert [document for document in valid if validator.problems(document)] == []
    assert [document for document in wrong if not validator.problems(document)] == []


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^([a-z]+)*$", "(a|a)*$", "^(a|aa)+$", "^(.*)*$"])
def test_a_pattern_with_nested_quantifiers_costs_no_time(pattern):
    """Python's engine would need years."""
    pytest.importorskip("jsonschema_rs")
    validator = Validator({"pattern": pattern})
    assert validator.is_quick(1000)
    assert bool(validator.problems("a" * 60 + "\n!")) == (pattern != "(a|a)*$")
    secrets = {"patternProperties": {pattern: {"writeOnly": True}}}
    anywhere = pattern in ("(a|a)*$", "^(.*)*$")
    assert annotations.secrets(secrets, {"a" * 60 + "!": "other"}) == (["other"] if anywhere else [])


@pytest.mark.parametrize(("schema", "length", "quick"), [
    ({"properties": {"a": {"pattern": "^(a+)+$"}}}, 10_000, True),
    ({"properties": {"a": {"pattern": "^(?=a)a$"}}}, 10, False),  # the engine that never goes back cannot look ahead
    ({"properties": {"a": {"pattern": "^(a)\\1$"}}}, 10, False),
    ({"pattern": "^(([a-z]{1,100}){1,100}x){1,100}$"}, 10, False),  # too large, compiled
    ({"properties": {"a": {"$ref": "#"}}}, 10, False),
    ({"uniqueItems": True}, 10_000, True),
    ({"anyOf": [{"type": "string"}] * 100}, 10_000, True),
    ({"anyOf": [{"type": "string"}] * 100}, 1_000_000, False),
])  # fmt: skip
def test_which_checks_nobody_notices(schema, length, quick):
    pytest.importorskip("jsonschema_rs")
    assert Validator(schema).is_quick(length) is quick


def test_without_the_fast_library_no_check_is_quick(monkeypatch):
    for module in (dialect, validation):
        monkeypatch.setattr(module, "fast_library", lambda: None)
    assert not Validator({}).is_quick(1)


def test_in_haste_a_wrong_document_is_not_explained():
    pytest.importorskip("jsonschema_rs")
    assert Validator({"type": "integer"}).problems(5, hasty=True) == []
    with pytest.raises(TakesLong):
        Validator({"type": "integer"}).problems("5", hasty=True)


def test_a_secret_is_masked_in_paths_and_before_a_message_is_cut(library):
    secret = "topsecret-" + "0123456789" * 3
    hide = masker([secret])
    validator = Validator({"additionalProperties": {"type": "integer"}})
    for length in range(140, 200):
        (problem,) = validator.problems({secret: "w" * length + secret + "v" * 300}, hide)
        assert problem.path == "$['***']" or problem.path == "$.***"
        assert "tops" not in problem.message
        assert "6789" not in problem.message


def test_every_problem_has_its_path(library):
    schema = {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": {}, "disks": {"items": {"properties": {"size": {"minimum": 0}, "a b": {"const": 1}}}}},
    }
    problems = Validator(schema).problems({"disks": [{}, {"size": -1, "a b": 2}], "x": 1})
    assert sorted(map(str, problems)) == [
        "$.disks[1].size: -1 is less than the minimum of 0",
        "$.disks[1]['a b']: 1 was expected",
        "$: 'name' is a required property",
        "$: Additional properties are not allowed ('x' was unexpected)",
    ]


def test_a_message_shows_the_pattern_as_it_was_written_and_numbers_as_they_came(library):
    assert Validator({"pattern": "^\\d$"}).problems("x")[0].message == "'x' does not match '^\\\\d$'"
    number = Decimal("5.00000000000000000000001")
    assert Validator({"maximum": 5}).problems(number)[0].message == f"{number} is greater than the maximum of 5"


@pytest.mark.parametrize(
    ("wrong", "listed"), [(MAX_PROBLEMS - 1, MAX_PROBLEMS - 1), (MAX_PROBLEMS + 1, MAX_PROBLEMS + 1)]
)
def test_the_number_of_problems_is_limited(library, wrong, listed):
    problems = Validator({"items": {"type": "string"}}).problems([*range(wrong)])
    assert len(problems) == listed
    assert (problems[-1].message == "more than 50 problems; the rest is not listed") == (wrong > MAX_PROBLEMS)


def test_a_long_message_keeps_both_ends(library):
    message = Validator({"type": "integer"}).problems("x" * 10_000)[0].message
    assert len(message) <= MAX_MESSAGE
    assert message.startswith("'xxx")
    assert message.endswith("is not of type 'integer'")
    assert shorten("short") == "short"


@pytest.mark.parametrize(("schema", "path", "sentence"), [
    ({"properties": {"a": {"$ref": "other.json"}}}, "$.request.properties.a.$ref", "points at no schema"),
    ({"$ref": "http://example.com/schema"}, "$.request.$ref", "put it into $defs"),
    ({"items": {}, "allOf": [{}, {"$ref": "#/$defs/gone"}]}, "$.request.allOf[1].$ref",
        "'#/$defs/gone' points at no schema"),
    ({"$dynamicRef": "#anchor"}, "$.request.$dynamicRef", "points at no schema"),
    ({"required": ["a"], "not": {"$ref": "#/required"}}, "$.request.not.$ref", "points at no schema"),
    ({"properties": {"default": {"$ref": "#/gone"}}}, "$.request.properties.default.$ref", "points at no schema"),
    ({"$id": "http://example.com/a"}, "$.request.$id", "not needed"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$.request.$schema", "not needed"),
    ({"type": "text"}, "$.request.type", "is not valid under any"),
    ({"properties": {"a": {"minimum": "1"}}}, "$.request.properties.a.minimum", "is not of type 'number'"),
    ({"properties": []}, "$.request.properties", "is not of type 'object'"),
    ({"pattern": "("}, "$.request.pattern", "'(' is not a regular expression: missing )"),
    ({"items": {"pattern": "\\p{L}"}}, "$.request.items.pattern", "bad escape"),
    ({"patternProperties": {"a**": {}}}, "$.request.patternProperties", "multiple repeat"),
])  # fmt: skip
def test_what_a_schema_may_not_be(library, schema, path, sentence):
    problems = schema_problems(schema, "$.request")
    assert [problem.path for problem in problems] == [path]
    assert sentence in problems[0].message


@pytest.mark.parametrize("schema", [
    {},
    {"$schema": DRAFT},
    {"$schema": DRAFT + "#"},
    {"properties": {"$ref": {"type": "string"}, "$id": {}, "pattern": {}, "default": {"default": {"$ref": "x"}}}},
    {"enum": [{"$ref": "x"}], "const": {"$id": "y"}, "examples": [{"$ref": "z"}]},
    {"$defs": {"a/b": {}, "c~d": True}, "anyOf": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#/$defs/c~0d"}]},
    {"properties": {"child": {"$ref": "#"}}},
])  # fmt: skip
def test_what_a_schema_may_be(library, schema):
    assert schema_problems(schema, "$") == []


@pytest.mark.parametrize(("pointer", "value"), [
    ("", {"a": [{"b/c": 1}, 2], "~": 3}), ("/a/0/b~1c", 1), ("/a/1", 2), ("/~0", 3),
    ("/a/2", None), ("/a/-1", None), ("/a/x", None), ("/gone", None), ("a", None), ("/a/0/b~1c/d", None),
])  # fmt: skip
def test_json_pointer(pointer, value):
    assert resolve({"a": [{"b/c": 1}, 2], "~": 3}, pointer) == value


def test_a_pattern_is_explained_by_the_description():
    schema = {"properties": {"x": {"type": "string", "pattern": "^\\\\d$", "description": "One digit"}}}
    assert [str(one) for one in Validator(schema).problems({"x": "y"})] == ["$.x: 'y' does not fit: One digit"]


def test_of_alternatives_the_one_that_was_meant_is_explained():
    item = {"properties": {"patience_s": {"type": "number"}}, "additionalProperties": False}
    schema = {"anyOf": [{"type": "string"}, {"type": "object", **item}]}
    found = [str(one) for one in Validator(schema).problems({"patience": 1})]
    assert found == ["$: Additional properties are not allowed ('patience' was unexpected); did you mean patience_s?"]
    assert "given schemas" in str(Validator(schema).problems(7)[0]), "none was meant"


@pytest.mark.parametrize(("url", "shown"), [
    ("http://me:s3cret@h/a?x=1", "http://***@h/a?***"), ("s3://b/a?sig=1", "s3://b/a?***"), ("http://h/a@b", "http://h/a@b"),
])  # fmt: skip
def test_urls_are_shown_without_secrets(url, shown):
    found = Validator({"pattern": "^$"}).problems(url)
    assert str(found[0]).startswith(f"$: '{shown}' does not match")
