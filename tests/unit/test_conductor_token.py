"""Ironic rejects the token: what the heartbeat process asks then, which token it uses, what it says, how often."""

import json
import time

from tests.support.heartbeat import BEAT, LOCKED, LOOKUP, OTHER, TOKEN, node
from tests.support.waiting import wait_for

REFUSED = (400, {"error_message": json.dumps({"faultstring": "Invalid or missing agent token received."})})
MASKED = node("******")
SLOWLY = {"BACKOFF_S": [0.2, 0.4], "RETRY_S": [0.01, 0.02]}
THIRD = "C" * 43


def tokens(api):
    return [one.body["agent_token"] for one in api.at("POST")]


def held(one):
    return (one.state / "token").read_text(), json.loads((one.state / "ironic.json").read_text())["token"]


def test_a_new_token_is_taken_and_kept(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN), node(OTHER), MASKED]
    ironic_api.answers[BEAT] = [(202, b""), REFUSED, (202, b"")]
    one = running()
    wait_for(lambda: tokens(ironic_api) == [TOKEN])
    one.command_ends()
    wait_for(lambda: tokens(ironic_api) == [TOKEN, TOKEN, OTHER])
    assert held(one) == (OTHER, OTHER)
    one.kill()
    one.start()
    wait_for(lambda: tokens(ironic_api)[3:] == [OTHER])
    first, last = ironic_api.at("POST")[0].body, ironic_api.at("POST")[-1].body
    assert first["callback_url"] == last["callback_url"], "Ironic would refuse another one"


def test_a_token_given_to_another_agent_is_reported_once_and_retried_slowly(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN), MASKED]
    ironic_api.answers[BEAT] = [REFUSED]
    began = time.monotonic()
    one = running(SLOWLY)
    wait_for(lambda: len(ironic_api.at("POST")) == 6)
    assert time.monotonic() - began > 5 * 0.1, "not in the pace of a heartbeat that failed"
    assert abs(len(ironic_api.at("GET")) - 1 - len(ironic_api.at("POST"))) <= 1, "one lookup for each refusal"
    assert one.said.read_text().count("to an earlier agent; have Ironic power the node off and on") == 1
    assert held(one) == (TOKEN, TOKEN)
    ironic_api.answers[BEAT] = [(202, b"")]
    wait_for(lambda: "heartbeats accepted" in one.said.read_text())


def test_tokens_that_are_never_good_make_no_storm(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(f"{number:043}") for number in range(100)]
    ironic_api.answers[BEAT] = [REFUSED]
    running(SLOWLY)
    wait_for(lambda: len(ironic_api.at("POST")) >= 3)
    before = len(ironic_api.at("POST"))
    time.sleep(1)  # in a storm there would be a hundred by then
    assert len(ironic_api.at("POST")) - before <= 10


def test_a_failed_lookup_is_reported_and_heartbeats_continue(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN), LOCKED]
    ironic_api.answers[BEAT] = [REFUSED, REFUSED, (202, b"")]
    one = running()
    wait_for(lambda: "heartbeats accepted" in one.said.read_text())
    assert one.said.read_text().count("rejects this agent's token") == 1
    assert "409 Node is locked" in one.said.read_text()
    assert tokens(ironic_api) == [TOKEN] * 3


def test_the_token_of_virtual_media_is_kept_where_the_lookup_masks_it(ironic_api, running):
    ironic_api.answers[LOOKUP] = [MASKED]
    ironic_api.answers[BEAT] = [REFUSED]
    one = running(ipa_agent_token=OTHER)
    wait_for(lambda: len(ironic_api.at("POST")) == 3)
    assert set(tokens(ironic_api)) == {OTHER}
    assert held(one) == (OTHER, OTHER)


def test_the_token_of_virtual_media_is_tried_again_when_a_newer_one_is_refused(ironic_api, running):
    ironic_api.answers[LOOKUP] = [MASKED, node(THIRD), MASKED]
    ironic_api.answers[BEAT] = [REFUSED, REFUSED, (202, b"")]
    one = running(ipa_agent_token=OTHER)
    wait_for(lambda: "heartbeats accepted" in one.said.read_text())
    assert tokens(ironic_api) == [OTHER, THIRD, OTHER]
    assert held(one) == (OTHER, OTHER)


def test_another_refusal_asks_for_no_token(ironic_api, running):
    ironic_api.answers[BEAT] = [(400, {"error_message": '{"faultstring": "TLS is required by configuration"}'})]
    running()
    wait_for(lambda: len(ironic_api.at("POST")) == 3)
    assert len(ironic_api.at("GET")) == 1


def test_a_missing_token_is_distinguished_from_a_masked_one(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(None), node(TOKEN)]
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    assert "returned no token: the API is older than version 1.62" in one.said.read_text()


def test_no_token_is_ever_printed(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN), node(OTHER), MASKED]
    ironic_api.answers[BEAT] = [REFUSED]
    one = running()
    wait_for(lambda: len(ironic_api.at("POST")) == 4)
    assert TOKEN not in one.said.read_text()
    assert OTHER not in one.said.read_text()


def test_the_node_is_kept_for_plugins_without_secrets(ironic_api, running):
    status, answer = node(TOKEN)
    answer["node"] |= {
        "properties": {"root_device": {"serial": "S1"}},
        "driver_internal_info": {"agent_secret_token": TOKEN},
    }
    answer["config"]["agent_skip_bmc_detect"] = True
    ironic_api.answers[LOOKUP] = [(status, answer)]
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    kept = json.loads((one.state / "node.json").read_text())
    assert kept["properties"] == {"root_device": {"serial": "S1"}}
    assert kept["driver_internal_info"] == {"agent_skip_bmc_detect": True}
    assert TOKEN not in (one.state / "node.json").read_text()


def test_what_ironic_permits_of_images_is_kept_for_plugins(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN, permitted_image_formats=["raw"])]
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    assert json.loads((one.state / "image-policy.json").read_text()) == {"permitted_image_formats": ["raw"]}


def test_ironics_tls_limits_reach_the_server_and_errors_are_reported_once(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN, tls_min_version="1.3", tls_cipher_suites="NO-SUCH")]
    ironic_api.answers[BEAT] = [REFUSED]
    one = running(ipa_tls_min_version="1.2")
    wait_for(lambda: len(ironic_api.at("POST")) == 3)
    assert json.loads((one.state / "tls.json").read_text()) == {"minimum": "1.3", "ciphers": None}
    assert one.said.read_text().count("'NO-SUCH' names no cipher of TLS 1.2") == 1
