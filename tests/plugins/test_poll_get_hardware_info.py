from tests.support.plugin import manifest, problems

COMMAND = "poll.get_hardware_info"


def test_it_is_hardware_inventory_by_another_name(call):
    ours, theirs = manifest("hardware.inventory"), manifest(COMMAND)
    assert theirs["synchronous"] is True
    assert (theirs["request"], theirs["response"]) == (ours["request"], ours["response"])
    assert problems(COMMAND, "request", {"x": 1})


def test_this_machine(call):
    assert call(COMMAND)["interfaces"]
