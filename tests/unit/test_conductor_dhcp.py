"""Which interfaces inspection waits for, and how long."""

import pytest

from agent_router.conductor import dhcp
from agent_router.conductor.boot_parameters import boot_parameters

FIRST, SECOND = "52:54:00:aa:00:01", "52:54:00:aa:00:02"


@pytest.fixture
def net(tmp_path):
    def add(name, address, carrier="1", physical=True, master=False):
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text(address + "\n")
        if carrier:
            (tmp_path / name / "carrier").write_text(carrier + "\n")
        for entry, there in (("device", physical), ("master", master)):
            if there:
                (tmp_path / name / entry).mkdir()

    add("eth0", FIRST)
    add("eth1", SECOND)
    add("eth2", "52:54:00:aa:00:03", carrier="0")
    add("eth3", "52:54:00:aa:00:04", carrier="")
    add("eth4", "52:54:00:aa:00:05", master=True)
    add("lo", "00:00:00:00:00:00", physical=False)
    return tmp_path


@pytest.fixture
def waiting(net, monkeypatch):
    """(steps left, what was said, seconds) of a wait in which first those interfaces have an address, then those."""

    def wait(*steps, timeout="60", **given):
        left, said, looks = list(steps), [], []
        monkeypatch.setattr(dhcp.time, "sleep", looks.append)
        monkeypatch.setattr(dhcp.time, "monotonic", lambda: sum(looks))
        monkeypatch.setattr(dhcp.global_addresses, "interfaces", lambda: left.pop(0) if len(left) > 1 else left[0])
        parameters = boot_parameters(
            {
                "ipa-api-url": "http://a",
                "ipa-inspection-dhcp-wait-timeout": timeout,
                **{key.replace("_", "-"): text for key, text in given.items()},
            }
        )
        dhcp.wait(parameters, said.append, net)
        return len(left), said, sum(looks)

    return wait


def test_the_interface_that_was_booted_from_is_waited_for(waiting):
    left, said, _ = waiting(set(), {"eth1"}, {"eth0"}, BOOTIF=f"01-{FIRST.replace(':', '-').upper()}")
    assert (left, said) == (1, [])


def test_all_interfaces_with_carrier_outside_bonds_are_waited_for(waiting):
    left, said, _ = waiting({"eth0"}, {"eth0", "eth1"}, set(), ipa_inspection_dhcp_all_interfaces="1", BOOTIF=FIRST)
    assert (left, said) == (1, []), "not for eth2 to eth4"


def test_the_wait_ends_and_names_what_is_missing(waiting):
    _, said, took_s = waiting({"eth0"}, timeout="60", ipa_inspection_dhcp_all_interfaces="1")
    assert said == ["ironic: inspecting without an address on eth1"]
    assert 60 <= took_s < 62


@pytest.mark.parametrize("given", [{"timeout": "0", "BOOTIF": FIRST}, {}, {"BOOTIF": "52:54:00:00:00:99"}])
def test_nothing_is_waited_for(waiting, given):
    _, said, took_s = waiting(set(), **given)
    assert (said, took_s) == ([], 0)
