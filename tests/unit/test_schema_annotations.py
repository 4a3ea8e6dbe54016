import json
from decimal import Decimal
from random import Random

import pytest

from agent_router.plugin.masking import FEW, MASK, mask, mask_end
from agent_router.schema.annotations import marked, marked_members, marks_anything, mask_value, secrets
from tests.support.seeds import seeds

SECRET = {"type": "string", "writeOnly": True}
PLAIN = {"type": "string"}


@pytest.mark.parametrize(("schema", "document"), [
    ({"properties": {"key": SECRET, "open": PLAIN}}, {"key": "hidden", "open": "shown"}),
    ({"properties": {"a": {"properties": {"b": SECRET}}}}, {"a": {"b": "hidden", "c": "shown"}}),
    ({"properties": {"list": {"items": SECRET}}}, {"list": ["hidden"], "open": "shown"}),
    ({"properties": {"list": {"prefixItems": [PLAIN, SECRET]}}}, {"list": ["shown", "hidden", "more"]}),
    ({"properties": {"list": {"prefixItems": [PLAIN], "items": SECRET}}}, {"list": ["shown", "hidden"]}),
    ({"properties": {"key": {"$ref": "#/$defs/key"}}, "$defs": {"key": SECRET}}, {"key": "hidden", "open": "shown"}),
    ({"properties": {"key": {"anyOf": [{"type": "integer"}, SECRET]}}}, {"key": "hidden", "open": "shown"}),
    ({"oneOf": [{"properties": {"a": PLAIN}}, {"properties": {"key": SECRET}}]}, {"key": "hidden", "a": "shown"}),
    ({"allOf": [{"properties": {"key": SECRET}}]}, {"key": "hidden", "open": "shown"}),
    ({"patternProperties": {"_key$": SECRET}}, {"the_key": "hidden", "keys": "shown"}),
    ({"properties": {"open": PLAIN}, "additionalProperties": SECRET}, {"any": "hidden", "open": "shown"}),
    ({"if": {"required": ["key"]}, "then": {"properties": {"key": SECRET}}}, {"key": "hidden", "open": "shown"}),
    ({"dependentSchemas": {"open": {"properties": {"key": SECRET}}}}, {"key": "hidden", "open": "shown"}),
    ({"unevaluatedProperties": SECRET, "properties": {"open": PLAIN}}, {"any": "hidden", "open": "shown"}),
    ({"properties": {"list": {"contains": SECRET}}}, {"list": ["hidden"], "open": "shown"}),
    ({"properties": {"list": {"unevaluatedItems": SECRET}}}, {"list": ["hidden"], "open": "shown"}),
    ({"$dynamicRef": "#/$defs/a", "$defs": {"a": {"properties": {"key": SECRET}}}}, {"key": "hidden", "open": "shown"}),
    ({"$ref": "#/$defs/tree",
      "$defs": {"tree": {"properties": {"key": SECRET, "child": {"$ref": "#/$defs/tree"}}}}},
     {"child": {"child": {"key": "hidden"}}, "open": "shown"}),
], ids=lambda value: json.dumps(value)[:60])  # fmt: skip
def test_a_secret_is_found_wherever_its_schema_stands(schema, document):
    assert marks_anything(schema, "writeOnly", True)
    assert secrets(schema, document) == ["hidden"]


@pytest.mark.parametrize("depth", [1, 31, 40, 62])
def test_marks_are_found_at_any_depth_that_a_request_may_have(depth):
    device = {"type": "string", "format": "block-device"}
    node = {"properties": {"key": SECRET, "disk": device, "next": {"$ref": "#/$defs/node"},
                           "list": {"items": {"$ref": "#/$defs/node"}}}}  # fmt: skip
    schema = {"$ref": "#/$defs/node", "$defs": {"node": {"allOf": [node]}}}
    for wrap in (lambda inner: {"next": inner}, lambda inner: {"list": [inner]}):
        document = {"key": "hidden", "disk": "/dev/a"}
        for _ in range(depth if wrap(0) == {"next": 0} else depth // 2):
            document = wrap(document)
        assert secrets(schema, document) == ["hidden"]
        assert marked(schema, document, "format", "block-device") == ["/dev/a"]


@pytest.mark.parametrize("name", ["y", "x\n", "X", "xx", ""])
def test_a_name_that_no_pattern_matches_is_an_additional_one(name):
    """Also where Python's own expressions would match it: $ is the very end."""
    schema = {"patternProperties": {"^x$": PLAIN}, "additionalProperties": SECRET}
    assert secrets(schema, {name: "hidden", "x": "shown"}) == ["hidden"]


def test_everything_below_a_secret_is_secret():
    schema = {"properties": {"login": {"writeOnly": True}}}
    document = {
        "login": {"user": "admin", "pins": [12345, 0.125, Decimal("1.00000000000000000001")], "on": True, "x": None}
    }
    assert secrets(schema, document) == ["1.00000000000000000001", "0.125", "12345", "admin"]


def test_what_is_too_short_to_be_masked_is_no_secret():
    assert secrets({"writeOnly": True}, ["abc", "abcd", 123, 1234]) == ["1234", "abcd"]


def test_what_is_too_long_to_be_printed_is_no_secret():
    assert secrets({"writeOnly": True}, ["abcdef", "a\nbcdef", "abcde"], 5) == ["abcde"]


def test_a_schema_without_marks():
    assert not marks_anything({"properties": {"writeOnly": {"type": "string"}, "a": True}}, "writeOnly", True)
    assert secrets({"properties": {"a": PLAIN}}, {"a": "shown"}) == []


def test_block_devices_are_found_in_order():
    device = {"type": "string", "format": "block-device"}
    schema = {"properties": {"disk": device, "more": {"items": {"properties": {"device": device}}}}}
    document = {"disk": "/dev/a", "more": [{"device": "/dev/b"}, {"device": "/dev/c", "x": "/dev/d"}]}
    assert marked(schema, document, "format", "block-device") == ["/dev/a", "/dev/b", "/dev/c"]


@pytest.mark.parametrize("secret", [
    "password", "p ss", 'quo"te', "back\\slash", "line\nbreak", "tab\there", "pässwörd", "pass😀word", "it's \"both\"",
    "\x1bescape", "/slash/", "a+b$(c)", "\\u00e4", "....",
])  # fmt: skip
def test_each_way_to_write_a_secret_is_masked(secret):
    for form in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), f"<{secret}>"):
        text = f"before {form} after"
        masked = mask(text, [secret])
        assert MASK in masked
        assert secret not in masked
        assert masked.startswith("before ")
        assert masked.endswith(" after")
        for inner in (json.dumps(secret)[1:-1], repr(secret)[1:-1]):
            assert inner not in masked


def test_the_longer_of_two_secrets_goes_first():
    hidden = secrets({"writeOnly": True}, ["pass", "password"])
    assert mask("password and pass", hidden) == f"{MASK} and {MASK}"


def test_alternatives_that_lead_to_the_same_place_are_followed_once():
    """2^60 ways lead to the innermost value."""
    alternatives = [{"properties": {"child": {"$ref": "#/$defs/tree"}, "key": kind}} for kind in (SECRET, PLAIN)]
    schema = {"$ref": "#/$defs/tree", "$defs": {"tree": {"oneOf": alternatives}}}
    document = {"key": "innermost"}
    for _ in range(60):
        document = {"child": document}
    assert secrets(schema, document) == ["innermost"]


def test_no_document_is_too_deep():
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/c"}]},
        "c": {"properties": {"child": {"$ref": "#/$defs/a"}, "key": SECRET}}}}  # fmt: skip
    document = {"key": "innermost"}
    for _ in range(63):
        document = {"child": document}
    assert secrets(schema, document) == ["innermost"]


def test_which_members_hold_something_marked():
    schema = {"properties": {"a": SECRET, "b": {"items": {"properties": {"key": SECRET}}}, "c": PLAIN}}
    document = {"a": "same", "b": [{"key": "inner"}], "c": "same", "d": "same"}
    assert marked_members(schema, document, "writeOnly", True) == {"a", "b"}
    assert marked_members({**schema, "writeOnly": True}, {"c": "x"}, "writeOnly", True) == {None}


@seeds(50)
def test_many_secrets_are_masked_like_few(seed):
    random = Random(seed)
    hidden = ["".join(random.choices("abc\"'", k=random.randint(4, 6))) for _ in range(FEW)]
    text = "".join(random.choices("abc\"'\\n", k=2000))
    masked = mask(text, hidden)
    assert MASK in masked
    assert not [secret for secret in hidden if secret in masked]
    assert mask("no such text", hidden) == "no such text"


@pytest.mark.parametrize("secret", ["topsecret-0123456789", "quo\"te'd back\\slash", "aaaaaaaaaab"])
@pytest.mark.parametrize("many", [False, True])
def test_half_a_secret_at_the_end_of_a_cut_text_is_masked(secret, many):
    hidden = [secret, *(f"other{number}" for number in range(FEW if many else 0))]
    for form in (secret, json.dumps(secret)[1:-1]):
        for kept in range(4, len(form)):
            assert mask_end(f"{secret} and {form[:kept]}", hidden) == f"{MASK} and {MASK}"
        assert mask_end(f"and {form[:3]}", hidden) == f"and {form[:3]}"
        assert mask_end(f"and {form[:6]} goes on", hidden) == f"and {form[:6]} goes on"


def test_values_are_masked_as_values():
    hidden = ["hidden", "12345", "0.125"]
    value = {"a": "is hidden here", "hidden": [12345, 0.125, 1, True, None], "b": {"c": ["hidden"]}}
    assert mask_value(value, hidden) == {"a": "is *** here", MASK: [MASK, MASK, 1, True, None], "b": {"c": [MASK]}}
    assert value["a"] == "is hidden here"
