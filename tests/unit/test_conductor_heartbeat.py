"""The heartbeat process as it is: what it tells Ironic, when, and what it knows after a kill -9."""

import contextlib
import os
import time

import pytest

from agent_router.conductor import heartbeat
from tests.support.heartbeat import BEAT, LOCKED, LOOKUP, NODE, OTHER, TOKEN, node
from tests.support.waiting import wait_for


def test_it_looks_the_node_up_and_sends_the_callback_url(ironic_api, running):
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    [beat] = ironic_api.at("POST")
    assert beat.body["callback_url"] == "https://192.0.2.7:9999"
    assert (beat.body["agent_token"], beat.body["agent_verify_ca"]) == (TOKEN, "the certificate")
    assert f"node_uuid={NODE}" in ironic_api.at("GET")[0].path
    assert (one.state / "token").read_text() == TOKEN
    wait_for(lambda: "heartbeats accepted" in one.said.read_text())
    assert TOKEN not in one.said.read_text()


@pytest.mark.parametrize(
    ("address", "url"), [("2001:db8::7", "https://[2001:db8::7]:9999"), ("", "https://127.0.0.1:9999")]
)
def test_the_callback_url(ironic_api, running, address, url):
    running(ipa_advertise_host=address)
    wait_for(lambda: ironic_api.at("POST"))
    assert ironic_api.at("POST")[0].body["callback_url"] == url


def test_after_kill_9_it_is_still_the_same_agent(ironic_api, running):
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    one.kill()
    one.start()
    wait_for(lambda: len(ironic_api.at("POST")) == 2)
    first, second = ironic_api.at("POST")
    assert second.body == first.body


def test_without_its_state_it_is_locked_out_and_says_so(ironic_api, running):
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    one.kill()
    for path in (one.state / "ironic.json", one.state / "token"):
        path.unlink()
    one.start()
    wait_for(lambda: "to an earlier agent" in one.said.read_text())
    assert len(ironic_api.at("POST")) == 1


def test_the_token_of_virtual_media_holds_where_the_lookup_masks_it(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node("******")]
    running(ipa_agent_token=OTHER)
    wait_for(lambda: ironic_api.at("POST"))
    assert ironic_api.at("POST")[0].body["agent_token"] == OTHER


def test_a_node_that_is_unknown_or_locked_is_asked_for_again(ironic_api, running):
    ironic_api.answers[LOOKUP] = [(404, b"{}"), LOCKED, (503, b"<html>"), node(TOKEN)]
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    assert "409 Node is locked" in one.said.read_text()


def test_a_heartbeat_that_failed_comes_again_soon(ironic_api, running):
    ironic_api.answers[BEAT] = [LOCKED, (202, b"")]
    running()
    wait_for(lambda: len(ironic_api.at("POST")) == 2)


def test_the_first_url_is_dead(ironic_api, running):
    running(ipa_api_url=f"http://127.0.0.1:9,{ironic_api.url}")
    wait_for(lambda: ironic_api.at("POST"))


def test_the_end_of_a_command_is_reported_at_once_but_not_too_often(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN, timeout=86400)]  # the next regular heartbeat is hours away
    one = running()
    wait_for(lambda: ironic_api.at("POST"))
    for _ in range(20):
        one.command_ends()
    wait_for(lambda: len(ironic_api.at("POST")) == 2)
    time.sleep(0.6)  # twice FORCED_APART_S: a third one would be there by then
    assert len(ironic_api.at("POST")) == 2, "twenty ends, one heartbeat"
    # Ironic drops a heartbeat, although it accepts it, while another of its threads holds the node.
    wait_for(lambda: len(ironic_api.at("POST")) == 3, "another comes soon after")
    time.sleep(2.5)  # more than AGAIN_S: a fourth one would be there by then
    assert len(ironic_api.at("POST")) == 3, "the next one is a regular one"


def test_heartbeats_come_well_before_ironic_takes_the_agent_for_dead(ironic_api, running):
    ironic_api.answers[LOOKUP] = [node(TOKEN, timeout=0.5)]
    running()
    wait_for(lambda: len(ironic_api.at("POST")) >= 5)
    assert max(heartbeat.INTERVAL) < 2 / 3


def test_inspection_comes_first_and_once(ironic_api, running):
    ironic_api.answers["POST /v1/continue_inspection"] = [(202, {"uuid": NODE})]
    one = running(ipa_inspection_callback_url=ironic_api.url + "/v1/continue_inspection")
    wait_for(lambda: len(ironic_api.at("POST")) == 2)
    assert ironic_api.at("POST")[0].path == "/v1/continue_inspection"
    one.kill()
    one.start()
    wait_for(lambda: len(ironic_api.at("POST")) == 3)
    assert ironic_api.at("POST")[2].path.startswith("/v1/heartbeat/")


def test_after_inspection_alone_it_waits_for_the_power_to_go(ironic_api, running):
    ironic_api.answers["POST /v1/continue_inspection"] = [(202, {"uuid": NODE})]
    one = running(ipa_api_url="", ipa_inspection_callback_url=ironic_api.url + "/v1/continue_inspection")
    wait_for(lambda: (one.state / "inspected").exists())
    time.sleep(0.3)  # a heartbeat would be there by then
    assert one.process.poll() is None
    assert [asked.path for asked in ironic_api.asked] == ["/v1/continue_inspection"]


def test_an_old_socket_is_replaced(tmp_path):
    for _ in range(2):
        with contextlib.closing(heartbeat.wake_socket(str(tmp_path))):
            assert os.path.exists(tmp_path / "ended.sock")
