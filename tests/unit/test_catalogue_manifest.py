import json

import pytest

from agent_router.catalogue.manifest import MAX_BYTES, Manifest, ManifestError, load
from agent_router.schema.jsontext import dumps

OBJECT = {"type": "object"}


def text(**keys) -> bytes:
    """A manifest; a key that is None is left out."""
    whole = {
        "protocol": 1,
        "title": "A test",
        "version": "1",
        "effects": "read",
        "request": OBJECT,
        "response": {},
        **keys,
    }
    return dumps({key: value for key, value in whole.items() if value is not None})


def request(*required: str, **properties) -> dict:
    return {"type": "object", "required": [*required], "properties": properties}


def test_defaults():
    manifest = Manifest(text())
    assert (manifest.timeout_s, manifest.grace_s, manifest.abortable) == (60, 5, True)
    assert (manifest.output_limit, manifest.log_limit) == (1 << 20, 4 << 20)
    assert (manifest.supports, manifest.locks, manifest.exec) == (frozenset(), [], None)
    assert not manifest.has_secrets
    assert not manifest.has_devices
    assert manifest.success is None
    assert (manifest.closes, Manifest(text(closes="network")).closes) == ("", "network")
    assert Manifest(text(effects="change")).locks == ["node"]
    assert Manifest(text(effects="destroy", locks=[])).locks == []


def test_the_values_of_the_file():
    manifest = Manifest(text(timeout_s=1.5, grace_s=0, abortable=False, supports=["plan"], output_limit_mib=0.5))
    assert (manifest.timeout_s, manifest.grace_s, manifest.abortable) == (1.5, 0, False)
    assert (manifest.supports, manifest.output_limit) == ({"plan"}, 1 << 19)


@pytest.mark.parametrize(("keys", "path", "sentence"), [
    ({"protocol": 2}, "$.protocol", "1 was expected"),
    ({"title": None}, "$", "'title' is a required property"),
    ({"title": "x" * 201}, "$.title", "is too long"),
    ({"version": 1}, "$.version", "is not of type 'string'"),
    ({"effects": "erase"}, "$.effects", "is not one of ['read', 'change', 'destroy']"),
    ({"unknown": 1}, "$.unknown", "no manifest has this key; known are $defs, abortable, "),
    ({"timeout": 1}, "$.timeout", "did you mean timeout_s?"),
    ({"Effects": "read"}, "$.Effects", "did you mean effects?"),
    ({"output_limit": 1}, "$.output_limit", "did you mean output_limit_mib?"),
    ({"request": {"type": "object", "required": True}}, "$.request.required", "is not of type 'array'"),
    ({"request": {"type": "object", "required": [["a"]]}}, "$.request.required[0]", "is not of type 'string'"),
    ({"request": {"type": "object", "properties": ["a"]}}, "$.request.properties", "is not of type 'object'"),
    ({"request": request(a={"pattern": "a{99999999999}"})}, "$.request.properties.a.pattern", "number is too large"),
    ({"request": request(a={"pattern": "(" * 500 + ")" * 500})}, "$.request.properties.a.pattern", "recursion"),
    ({"request": {"type": "object", "prefixItems": [True], "not": {"$ref": "#/prefixItems/\u00b2"}}},
        "$.request.not.$ref", "points at no schema"),
    ({"request": {"type": "object", "not": {"$ref": "#/$defs/a%20b"}, "$defs": {"a%20b": {}, "a b": {}}}},
        "$.request.not.$ref", "holds a %"),
    ({"exec": {"argv": [], "stdout": "regex", "regex": "(?P<a>x{99999999999})"}}, "$.exec.regex", "too large"),
    ({"request": request(n={"type": "integer", "default": "abc"})}, "$.request.properties.n.default",
        "breaks its own schema: 'abc' is not of type 'integer'"),
    ({"request": request(n={"$ref": "#/$defs/n", "default": 0}), "$defs": {"n": {"minimum": 1}}},
        "$.request.properties.n.default", "0 is less than the minimum of 1"),
    ({"response": {"items": {"enum": [1, 2], "examples": [1, 3]}}}, "$.response.items.examples[1]", "3 is not one of"),
    ({"request": request(**{"a/b~": {"properties": {"$ref": {"$ref": "#/properties/x~1y"}}, "default": {"$ref": 1}},
                            "x/y": {"type": "string"}})},
        "$.request.properties.a/b~.default", "1 is not of type 'string'"),
    ({"examples": [{"request": {"n": "x"}, "response": {}}], "request": request(n={"type": "integer"})},
        "$.examples[0].request.n", "'x' is not of type 'integer'"),
    ({"examples": [{"request": {}, "response": 1}], "response": {"type": "object"}}, "$.examples[0].response",
        "1 is not of type 'object'"),
    ({"request": request(a={"propertyNames": {"format": "block-device"}})}, "$.request.properties.a.propertyNames",
        "format: block-device has no effect here"),
    ({"request": request(a={"not": {"properties": {"b": {"$ref": "#/$defs/s"}}}}), "$defs": {"s": {"writeOnly": True}}},
        "$.request.properties.a.not", "writeOnly has no effect here"),
    ({"request": request(a={"contentSchema": {"items": {"writeOnly": True}}})}, "$.request.properties.a.contentSchema",
        "writeOnly has no effect here"),
    ({"request": {}}, "$.request.type", 'must be "object"'),
    ({"request": {"type": ["object", "null"]}}, "$.request.type", 'must be "object"'),
    ({"request": {"type": "object", "properties": {"a": {"$ref": "x.json"}}}}, "$.request.properties.a.$ref",
        "points at no"),
    ({"response": {"pattern": "("}}, "$.response.pattern", "is not a regular expression"),
    ({"response": {"type": "text"}}, "$.response.type", "is not valid"),
    ({"timeout_s": 0}, "$.timeout_s", "less than or equal to the minimum"),
    ({"timeout_s": 604801}, "$.timeout_s", "greater than the maximum"),
    ({"grace_s": -1}, "$.grace_s", "less than the minimum"),
    ({"output_limit_mib": 257}, "$.output_limit_mib", "greater than the maximum"),
    ({"log_limit_mib": 0}, "$.log_limit_mib", "less than or equal to the minimum"),
    ({"supports": ["undo"]}, "$.supports[0]", "is not one of"),
    ({"supports": ["plan", "plan"]}, "$.supports", "non-unique"),
    ({"closes": True}, "$.closes", "is not one of ['agent', 'network']"),
    ({"closes": "agent", "supports": ["plan"]}, "$.closes", "goes with no plan"),
    ({"errors": {"Bad-Code": "text"}}, "$.errors", "does not match"),
    ({"examples": [{"request": {}}]}, "$.examples[0]", "'response' is a required property"),
    ({"match": []}, "$.match", "non-empty"),
    ({"match": [{"pci": "x"}]}, "$.match[0]", "'pci' was unexpected"),
    ({"needs": {"packages": []}}, "$.needs", "'packages' was unexpected"),
    ({"steps": [{"interface": "disk", "step": "a", "phases": ["clean"]}]}, "$.steps[0].interface", "is not one of"),
    ({"locks": ["disk {device}"]}, "$.locks[0]", "does not match"),
    ({"locks": ["disk:{device}"]}, "$.locks", "'disk:{device}' needs 'device', which the request schema must require"),
    ({"locks": ["disk:{device}"], "request": request(device={})}, "$.locks", "needs 'device'"),
    ({"exec": {}}, "$.exec", "'argv' is a required property"),
    ({"exec": {"argv": [], "exit_codes": {"x": "ok"}}}, "$.exec.exit_codes", "does not match"),
    ({"exec": {"argv": [], "exit_codes": {"0": "fine"}}}, "$.exec.exit_codes['0']", "is not one of"),
    ({"exec": {"argv": [], "exit_bits": {"8": "ok"}}}, "$.exec.exit_bits", "does not match"),
    ({"exec": {"argv": ["-{a}"]}}, "$.exec.argv", "'-{a}' needs 'a': require it, give it a default, or use when"),
    ({"exec": {"argv": ["{a}"]}, "request": request(a={})}, "$.exec.argv", "'{a}' needs 'a'"),
    ({"exec": {"argv": [{"when": "a", "argv": []}]}}, "$.exec.argv", "no request property is called 'a'"),
    ({"exec": {"argv": [{"when": "a", "argv": ["{b}"]}]}, "request": request(a={}, b={})}, "$.exec.argv",
        "'{b}' needs 'b'"),
    ({"exec": {"argv": [], "stdout": "regex"}}, "$.exec.regex", "goes together with stdout: regex"),
    ({"exec": {"argv": [], "regex": "(?P<a>.)"}}, "$.exec.regex", "goes together with stdout: regex"),
    ({"exec": {"argv": [], "stdout": "regex", "regex": "(a)"}}, "$.exec.regex", "has no named group"),
    ({"exec": {"argv": [], "stdout": "regex", "regex": "(?P<a>"}}, "$.exec.regex",
        "not a regular expression: missing )"),
    ({"exec": {"argv": [], "success": {"required": "a"}}}, "$.exec.success.required", "is not of type 'array'"),
    ({"exec": {"argv": [], "success": {"properties": {"a": {}}}}}, "$.exec.success", "accepts {}"),
    ({"exec": {"argv": ["{pw}"]}, "request": request("pw", pw={"writeOnly": True})}, "$.exec.argv",
        "'pw' is writeOnly"),
    ({"exec": {"argv": [{"when": "pw", "argv": ["{pw}"]}]}, "$defs": {"secret": {"writeOnly": True}},
      "request": request(pw={"$ref": "#/$defs/secret"})}, "$.exec.argv", "'pw' is writeOnly"),
])  # fmt: skip
def test_each_rule(keys, path, sentence):
    with pytest.raises(ManifestError) as caught:
        Manifest(text(**keys))
    assert [problem.path for problem in caught.value.problems] == [path], str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("key", ["timeout_s", "grace_s", "output_limit_mib", "log_limit_mib"])
def test_a_number_that_no_double_holds_is_rounded(key):
    raw = text().rstrip()[:-1] + f', "{key}": 3.99999999999999999999}}'.encode()
    assert Manifest(raw).data[key] == 4.0
    assert isinstance(Manifest(raw).data[key], float)


def test_all_reasons_are_given_at_once():
    with pytest.raises(ManifestError) as caught:
        Manifest(text(title=5, effects="x", timeout_s="y"))
    assert {problem.path for problem in caught.value.problems} == {"$.title", "$.effects", "$.timeout_s"}
    with pytest.raises(ManifestError) as caught:
        Manifest(text(title=5, timeout=3, steps=[{"step": "x"}]))
    assert {problem.path for problem in caught.value.problems} == {"$.title", "$.timeout", "$.steps[0]"}


@pytest.mark.parametrize(("raw", "sentence"), [
    (b"", "not JSON"), (b"\xff", "not UTF-8"), (b"[]", "[] is not of type 'object'"),
    (b'{"protocol": 1, "protocol": 1}', "stands twice"), (b'{"timeout_s": 1e400}', "too large"),
])  # fmt: skip
def test_what_is_no_manifest_at_all(raw, sentence):
    with pytest.raises(ManifestError, match=sentence.replace("[", r"\[")):
        Manifest(raw)


@pytest.mark.parametrize("keys", [
    {"locks": ["disk:{device}"], "request": request("device", device={})},
    {"locks": ["disk:{device}"], "request": request(device={"default": "/dev/null"})},
    {"locks": ["a", "node", "x:{y}:{y}"], "request": request("y", y=True)},
    {"exec": {"argv": ["/c{a}", {"when": "b", "argv": ["{b}", "{a}"]}]}, "request": request("a", a={}, b={})},
    {"exec": {"argv": ["a", "{not a key}", "{}"]}},
    {"exec": {"argv": [], "success": {"required": ["x"]}, "exit_codes": {"0": "ok", "*": "retry"}}},
    {"$defs": {"size": {"type": "integer"}}, "request": request(a={"$ref": "#/$defs/size"})},
    {"$defs": {"size": {"minimum": 1}}, "request": request(a={"$ref": "#/$defs/size", "default": 1, "examples": [2]})},
    {"request": request(a={"const": {"$ref": "gone"}, "propertyNames": {"pattern": "^a"}, "not": {"const": 1}})},
    {"request": request(default={"type": "integer"}, examples={"type": "string"}, enum={"default": {"a": []}})},
])  # fmt: skip
def test_what_is_allowed(keys):
    Manifest(text(**keys))


def test_shared_definitions_serve_both_sides():
    shared = {"size": {"type": "integer"}}
    reference = {"$ref": "#/$defs/size"}
    manifest = Manifest(text(**{"$defs": shared}, request=request(a=reference), response=reference))
    assert manifest.request.problems({"a": "x"})
    assert manifest.response.problems("x")
    assert not manifest.request.problems({"a": 1})
    assert not manifest.response.problems(1)


@pytest.mark.parametrize("place", ["request", "$defs"])
def test_marks_are_seen_wherever_the_request_has_them(place):
    parts = {"disk": {"type": "string", "format": "block-device"}, "key": {"writeOnly": True}}
    if place == "request":
        keys = {"request": request(**parts)}
    else:
        keys = {"$defs": parts, "request": request(disk={"$ref": "#/$defs/disk"}, key={"$ref": "#/$defs/key"})}
    assert Manifest(text(effects="destroy", **keys)).has_devices
    assert Manifest(text(effects="change", **keys)).has_devices
    assert not Manifest(text(effects="read", **keys)).has_devices
    assert Manifest(text(**keys)).has_secrets


def test_a_file(tmp_path):
    path = tmp_path / "a.b.json"
    path.write_bytes(text(description="ä"))
    assert load(path).data["description"] == "ä"
    assert load(path).sha256 == Manifest(path.read_bytes()).sha256
    path.write_bytes(text(description="x" * MAX_BYTES))
    with pytest.raises(ManifestError, match="larger than 4 MiB"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "gone")


def test_the_manifest_schema_is_itself_good():
    from agent_router.catalogue import manifest
    from agent_router.schema.validation import schema_problems

    path = manifest.Path(manifest.__file__).parent / "manifest.schema.json"
    assert schema_problems(json.loads(path.read_bytes()), "$") == []
