"""The client of Ironic's API, against answers as Ironic gave them."""

import json
from urllib.parse import urlsplit

import pytest

from agent_router.conductor import ironic
from agent_router.conductor.ironic import Ironic, IronicError, fault

NODE = "9588cd5c-5a6e-4d1c-a6cd-0f1a26d5c0de"
DEAD = "http://127.0.0.1:9"
FOUND = {"node": {"uuid": NODE, "properties": {}}, "config": {"agent_token": "T" * 43, "heartbeat_timeout": 300}}
MACS = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]


def wrapped(sentence: str) -> dict[str, str]:
    return {"error_message": json.dumps({"faultcode": "Client", "faultstring": sentence, "debuginfo": None})}


def test_lookup_asks_by_macs_and_by_uuid(ironic_api):
    ironic_api.answers["GET /v1/lookup"] = [(200, FOUND)]
    client = Ironic([ironic_api.url + "/"], "req-1")
    assert client.lookup(MACS) == FOUND
    client.lookup(MACS, NODE)
    first, second = ironic_api.at("GET")
    assert first.path == f"/v1/lookup?addresses={','.join(MACS)}"
    assert second.path.endswith(f"&node_uuid={NODE}")
    assert (first.version, first.request_id) == ("1.62", "req-1")
    assert len(ironic_api.asked) == 3, "the version is asked for once"


def test_heartbeat_has_what_ironic_knows_and_nothing_else(ironic_api):
    ironic_api.answers[f"POST /v1/heartbeat/{NODE}"] = [(202, b"")]
    client = Ironic([ironic_api.url])
    client.heartbeat(NODE, "https://[2001:db8::7]:9999", "T" * 43, "1.0", "PEM")
    client.heartbeat(NODE, "https://192.0.2.7:9999", "T" * 43, "1.0")
    first, second = ironic_api.at("POST")
    assert first.version == "1.68"
    assert first.body == {
        "callback_url": "https://[2001:db8::7]:9999",
        "agent_token": "T" * 43,
        "agent_version": "1.0",
        "agent_verify_ca": "PEM",
    }
    assert "agent_verify_ca" not in second.body


@pytest.mark.parametrize(("told", "spoken"), [("1.115", "1.62"), ("1.40", "1.40"), ("1.9", "1.9")])
def test_an_older_ironic_is_spoken_to_in_its_version(ironic_api, told, spoken):
    ironic_api.answers["GET /"] = [(200, {"default_version": {"version": told}})]
    ironic_api.answers["GET /v1/lookup"] = [(200, FOUND)]
    Ironic([ironic_api.url]).lookup(MACS)
    assert ironic_api.at("GET")[0].version == spoken


@pytest.mark.parametrize("root", [(200, {"name": "something else"}), (200, []), (404, b"<html>no root</html>")])
def test_a_root_that_does_not_tell_the_version_is_asked_again(ironic_api, root):
    ironic_api.answers["GET /"] = [root, (200, {"default_version": {"version": "1.115"}})]
    ironic_api.answers["GET /v1/lookup"] = [(200, FOUND)]
    client = Ironic([ironic_api.url])
    client.lookup(MACS)
    client.lookup(MACS)
    assert [one.version for one in ironic_api.at("GET")] == ["1.31", "1.62"]


def test_the_url_that_answers_is_stayed_with(ironic_api):
    ironic_api.answers["GET /v1/lookup"] = [(200, FOUND)]
    client = Ironic([DEAD, ironic_api.url])
    assert client.url == DEAD
    client.lookup(MACS)
    assert client.url == ironic_api.url
    client.lookup(MACS)
    assert len(ironic_api.at("GET")) == 2


def test_an_answer_with_an_error_is_an_answer(ironic_api):
    ironic_api.answers["GET /v1/lookup"] = [(409, wrapped("Node is locked by host a"))]
    with pytest.raises(IronicError, match="409 Node is locked by host a") as caught:
        Ironic([ironic_api.url, DEAD]).lookup(MACS)
    assert caught.value.status == 409


@pytest.mark.parametrize("urls", [[], [DEAD], [DEAD, "ftp://x/"], ["http://"], ["http://127.0.0.1:http"]])
def test_no_answer_has_no_status(urls):
    with pytest.raises(IronicError) as caught:
        Ironic(urls).lookup(MACS)
    assert caught.value.status == 0
    assert str(caught.value)


@pytest.mark.parametrize("body", [[], {}, {"node": None}, {"node": {}}, "text"])
def test_a_lookup_without_a_node_is_an_error(ironic_api, body):
    ironic_api.answers["GET /v1/lookup"] = [(200, body)]
    with pytest.raises(IronicError, match="contains no node"):
        Ironic([ironic_api.url]).lookup(MACS)


def test_an_answer_that_is_not_json_is_an_error(ironic_api):
    ironic_api.answers["GET /v1/lookup"] = [(200, b"<html>")]
    with pytest.raises(IronicError, match="not JSON"):
        Ironic([ironic_api.url]).lookup(MACS)


def test_a_truncated_answer_is_no_answer(ironic_api, monkeypatch):
    monkeypatch.setattr(ironic, "TIMEOUT_S", 0.2)
    ironic_api.answer = lambda asked: __import__("time").sleep(1)
    with pytest.raises(IronicError, match="does not answer"):
        Ironic([ironic_api.url]).lookup(MACS)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (json.dumps(wrapped("twice encoded")).encode(), "twice encoded"),
        (b'{"error_message": {"faultstring": "once encoded"}}', "once encoded"),
        (b'{"title": "of another layer"}', "of another layer"),
        (b'{"error_message": "no JSON inside"}', '{"error_message": "no JSON inside"}'),
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b"", ""),
        (b"[]", "[]"),
        (b"\xff", "\ufffd"),
    ],
)
def test_the_sentence_of_an_error(raw, sentence):
    assert fault(raw) == sentence


def test_inspection_goes_to_the_url_given_without_a_version(ironic_api):
    ironic_api.answers["POST /v1/continue_inspection"] = [(202, {"uuid": NODE})]
    client = Ironic([ironic_api.url])
    client.inspected([ironic_api.url + "/v1/continue_inspection"], {"inventory": {}})
    client.inspected([], {"inventory": {}})
    assert [one.version for one in ironic_api.at("POST")] == [None, None]


def test_an_api_that_fails_is_passed_over_and_the_one_that_works_is_stayed_with(ironic_api, other_api):
    ironic_api.answers["GET /v1/lookup"] = [(503, wrapped("no conductor has a worker free"))]
    other_api.answers["GET /v1/lookup"] = [(200, FOUND)]
    client = Ironic([ironic_api.url, other_api.url])
    assert client.lookup(MACS) == FOUND
    assert client.urls == [other_api.url, ironic_api.url]
    client.lookup(MACS)
    assert (len(ironic_api.at("GET")), len(other_api.at("GET"))) == (1, 2)


def test_where_all_apis_fail_each_is_reported_and_the_order_stays(ironic_api, other_api):
    for api in (ironic_api, other_api):
        api.answers["GET /v1/lookup"] = [(503, wrapped("no worker is free"))]
    client = Ironic([ironic_api.url, other_api.url, DEAD])
    with pytest.raises(IronicError) as caught:
        client.lookup(MACS)
    assert caught.value.status == 503
    assert str(caught.value).count("503 no worker is free") == 2
    assert f"{DEAD}: {DEAD} does not answer" in str(caught.value)
    assert client.url == ironic_api.url


def test_a_refusal_is_not_asked_for_elsewhere(ironic_api, other_api):
    ironic_api.answers["GET /v1/lookup"] = [(503, b"<html>")]
    other_api.answers["GET /v1/lookup"] = [(404, wrapped("Resource could not be found."))]
    client = Ironic([ironic_api.url, other_api.url, DEAD])
    with pytest.raises(IronicError, match="404 Resource could not be found") as caught:
        client.lookup(MACS)
    assert (caught.value.status, client.url) == (404, other_api.url)


def test_each_api_is_spoken_to_in_its_own_version(ironic_api, other_api):
    ironic_api.answers["GET /v1/lookup"] = [(200, FOUND), (500, b""), (500, b""), (200, FOUND)]
    other_api.answers["GET /"] = [(200, {"default_version": {"version": "1.40"}})]
    other_api.answers["GET /v1/lookup"] = [(200, FOUND), (502, b"")]
    client = Ironic([ironic_api.url, other_api.url])
    for _ in range(2):
        client.lookup(MACS)
    with pytest.raises(IronicError):
        client.lookup(MACS)
    ironic_api.answers["GET /"] = [(200, {"default_version": {"version": "1.50"}})]  # another release meanwhile
    client.lookup(MACS)
    assert [one.version for one in ironic_api.at("GET")] == ["1.62", "1.62", "1.62", "1.50"]
    assert [one.version for one in other_api.at("GET")] == ["1.40", "1.40", "1.40"]


def test_an_api_that_starts_is_not_asked_in_a_version_that_brings_no_token(ironic_api, other_api):
    ironic_api.answers["GET /"] = [(503, b"<html>starting</html>")]
    other_api.answers["GET /v1/lookup"] = [(200, FOUND)]
    Ironic([ironic_api.url, other_api.url]).lookup(MACS)
    assert ironic_api.at("GET") == []


def test_inspection_goes_to_the_next_callback_where_the_first_one_fails(ironic_api, other_api):
    path = "/v1/continue_inspection"
    ironic_api.answers[f"POST {path}"] = [(500, b"")]
    other_api.answers[f"POST {path}"] = [(202, {"uuid": NODE})]
    Ironic([]).inspected([DEAD + path, ironic_api.url + path, other_api.url + path], {"inventory": {}})
    assert len(other_api.at("POST")) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_is_followed_with_method_and_body(ironic_api, status):
    moved = "/moved/v1/heartbeat/" + NODE
    ironic_api.answers[f"POST /v1/heartbeat/{NODE}"] = [(status, moved.encode())]
    ironic_api.answers[f"POST {moved}"] = [(202, b"")]
    ironic_api.answers["GET /v1/lookup"] = [(status, f"{ironic_api.url}/moved/lookup".encode())]
    ironic_api.answers["GET /moved/lookup"] = [(200, FOUND)]
    ironic_api.answers["POST /v1/continue_inspection"] = [(status, moved.encode())]
    client = Ironic([ironic_api.url])
    assert client.lookup(MACS) == FOUND
    client.heartbeat(NODE, "https://192.0.2.7:9999", "T" * 43, "1.0")
    client.inspected([], {"inventory": {}})
    arrived = [one for one in ironic_api.at("POST") if one.path == moved]
    assert [sorted(one.body) for one in arrived] == [["agent_token", "agent_version", "callback_url"], ["inventory"]]


@pytest.mark.parametrize(("status", "place", "words"), [
    (308, "http://192.0.2.99/v1", "308 redirects to http://192.0.2.99/v1, which is not followed"),
    (302, "ftp://127.0.0.1/", "neither https nor on the same host"),
    (303, "/elsewhere", "303 with Location /elsewhere is no answer of Ironic's API"),
    (304, "", "304 with Location missing"),
    (301, "http://[::1", "which is no URL"),
])  # fmt: skip
def test_a_redirect_that_is_not_followed_is_an_error_that_names_status_and_place(ironic_api, status, place, words):
    ironic_api.answers["POST /v1/continue_inspection"] = [(status, place.encode())]
    with pytest.raises(IronicError) as failed:
        Ironic([ironic_api.url]).inspected([], {})
    assert words in str(failed.value)
    assert failed.value.status == status


def test_redirects_in_a_circle_end(ironic_api):
    ironic_api.answers["POST /v1/continue_inspection"] = [(307, b"/v1/continue_inspection")]
    with pytest.raises(IronicError, match="307, redirected more than 5 times"):
        Ironic([ironic_api.url]).inspected([], {})


def test_an_api_that_redirects_astray_is_skipped_for_the_next(ironic_api, other_api):
    ironic_api.answers["GET /"] = [(302, b"http://192.0.2.99/login")]
    other_api.answers["GET /v1/lookup"] = [(200, FOUND)]
    assert Ironic([ironic_api.url, other_api.url]).lookup(MACS) == FOUND


def test_https_is_followed_anywhere_and_never_left():
    http, https = urlsplit("http://api.example.com/v1/x"), urlsplit("https://api.example.com/v1/x")
    assert ironic.redirected("POST", http, 301, "https://other.example.com/v1/x").netloc == "other.example.com"
    with pytest.raises(IronicError, match="not followed"):
        ironic.redirected("POST", https, 301, "http://api.example.com/v1/x")


@pytest.mark.parametrize("content", [None, "", "not a certificate\n"])
def test_a_ca_file_that_cannot_be_used_is_named(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(IronicError) as failed:
        Ironic(["https://127.0.0.1:1"], cafile=str(file)).lookup(MACS)
    why = "No such file or directory" if content is None else "it has no PEM certificate"
    assert str(failed.value).startswith(f"the CA file {file} cannot be used: {why}; ")


def test_a_ca_file_is_not_read_where_nothing_is_verified(tmp_path):
    with pytest.raises(IronicError, match="does not answer"):
        Ironic(["https://127.0.0.1:1"], cafile=str(tmp_path / "absent"), insecure=True).lookup(MACS)
