import pytest

from agent_router.conductor import inspection
from agent_router.conductor.inspection import CollectorFailed
from agent_router.conductor.ironic import Ironic

INVENTORY, LOGS = "inspect.inventory", "inspect.logs"


@pytest.mark.parametrize(
    ("text", "methods"),
    [
        ("", [INVENTORY, LOGS]),
        ("default", [INVENTORY]),
        ("default,logs", [INVENTORY, LOGS]),
        ("logs, pci-devices ,,logs", [INVENTORY, "inspect.pci_devices", LOGS]),
        ("dmi-decode", [INVENTORY, "inspect.dmi"]),
    ],
)
def test_the_collectors_of_the_command_line(text, methods):
    assert inspection.chosen(text) == methods


def test_what_all_collectors_found_is_posted_together():
    found = {"inspect.a": {"inventory": {"interfaces": [1]}}, "inspect.b": {"data": [2]}}
    assert inspection.collect(found, found.__getitem__) == {**found["inspect.a"], **found["inspect.b"], "error": None}


def test_a_failed_collector_is_reported_and_does_not_hide_the_others():
    def call(method):
        if method == "inspect.b":
            return {"data": [2]}
        raise CollectorFailed(f"no {method}")

    data = inspection.collect(["inspect.a", "inspect.b", "inspect.c"], call)
    assert data["data"] == [2]
    assert data["error"] == "inspect.a: no inspect.a; inspect.c: no inspect.c"
    assert data["inventory"] == {"interfaces": []}


@pytest.fixture
def posting(ironic_api, monkeypatch):
    pauses = []
    monkeypatch.setattr(inspection.time, "sleep", pauses.append)

    def post(*answers):
        ironic_api.answers["POST /v1/continue_inspection"] = list(answers)
        said = []
        url = ironic_api.url + "/v1/continue_inspection"
        done = inspection.post(Ironic([ironic_api.url]), [url], {"inventory": {}}, said.append)
        return done, len(ironic_api.at("POST")), pauses, said

    return post


def test_it_is_posted_once(posting):
    assert posting((202, {"uuid": "u"})) == (True, 1, [], [])


def test_a_locked_node_and_a_starting_ironic_are_waited_for(posting):
    done, times, pauses, said = posting((409, b"{}"), (503, b"<html>"), (202, {"uuid": "u"}))
    assert (done, times, pauses) == (True, 3, [5, 10])
    assert len(said) == 2


def test_a_refusal_is_not_repeated(posting):
    done, times, _, said = posting((404, {"error_message": '{"faultstring": "no such node"}'}))
    assert (done, times) == (True, 1)
    assert "no such node" in said[0]


def test_it_gives_up_for_now_and_says_so_to_its_caller(posting):
    done, times, pauses, _ = posting((500, b"{}"))
    assert (done, times, pauses) == (False, 5, [5, 10, 20, 30])
