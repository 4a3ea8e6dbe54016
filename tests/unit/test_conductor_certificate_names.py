"""The names in the certificate: waited for, and told to Ironic."""

import subprocess

import pytest

from agent_router.conductor import certificate_names
from agent_router.conductor.boot_parameters import boot_parameters
from agent_router.ramdisk import identity
from agent_router.ramdisk.network import global_addresses

A, B = "http://ironic-a:6385", "http://ironic-b:6385"
SIX = "2001:db8::7"
UNKNOWN = OSError(-2, "Name or service not known")


@pytest.fixture
def network(monkeypatch):
    """The addresses of this machine, and by URL that of the way there; each step of time takes the next entry."""

    def be(present, **ways):
        def now(steps):
            return steps.pop(0) if len(steps) > 1 else steps[0]

        def source_address(url):
            found = now(ways[url[len("http://ironic-")]])
            if isinstance(found, OSError):
                raise found
            return found

        monkeypatch.setattr(global_addresses, "present", lambda: now(present))
        monkeypatch.setattr(certificate_names.addresses, "source_address", source_address)

    for module, constant in ((global_addresses, "INTERVAL_S"), (certificate_names, "REPEAT_S")):
        monkeypatch.setattr(module, constant, 0.001)
    monkeypatch.setattr(certificate_names, "OTHERS_PATIENCE_S", 0.05)
    return be


def parameters(**given):
    return boot_parameters({"ipa-api-url": A, **{key.replace("_", "-"): text for key, text in given.items()}})


def wait(wanted):
    said = []
    return certificate_names.wait(wanted, said.append, patience_s=0.0), said


def test_the_source_address_for_ironic_comes_first(network):
    network([["203.0.113.9", "192.0.2.7"]], a=["192.0.2.7"])
    assert wait(parameters()) == (["192.0.2.7", "203.0.113.9"], [])


def test_the_wait_has_no_limit_and_the_console_says_what_is_missing(network):
    network([[], [], [], ["203.0.113.9"]], a=[UNKNOWN] * 9 + ["192.0.2.7"])
    found, said = wait(parameters())
    assert found == ["192.0.2.7", "203.0.113.9"]
    assert said == ["", f"waiting for the network to Ironic at {A}: Name or service not known"]


def test_of_two_routes_the_later_one_is_waited_for_too(network):
    network([["192.0.2.7"]], a=["192.0.2.7"], b=[UNKNOWN, UNKNOWN, SIX])
    assert wait(parameters(ipa_api_url=f"{A},{B}")) == (["192.0.2.7", SIX], [])


def test_there_may_never_be_a_route_to_the_first_url(network):
    network([["192.0.2.7"]], a=[UNKNOWN], b=["192.0.2.7"])
    assert wait(parameters(ipa_api_url=f"{A},{B}")) == (["192.0.2.7"], [])


def test_a_given_address_needs_no_route_to_ironic(network):
    network([[]], a=[UNKNOWN])
    assert wait(parameters(ipa_advertise_host=f"[{SIX}]")) == ([SIX], [])


def test_a_given_name_still_waits_for_an_address(network):
    network([[], [], ["192.0.2.7"]], a=[UNKNOWN])
    assert wait(parameters(ipa_advertise_host="node7.example.org")) == (["node7.example.org", "192.0.2.7"], [""])


def test_inspection_alone_waits_as_well(network):
    network([[], [SIX]], a=[UNKNOWN, SIX])
    assert wait(parameters(ipa_api_url="", ipa_inspection_callback_url=A)) == ([SIX], [""])


@pytest.mark.parametrize(
    ("known", "told"), [(["192.0.2.7"], "192.0.2.7"), (["192.0.2.7", SIX], SIX), ([SIX], SIX), ([], SIX)]
)
def test_ironic_gets_an_address_that_is_in_the_certificate(network, tmp_path, known, told):
    network([[]], a=[SIX], b=["192.0.2.7"])
    cert, _ = identity.certificate(known, tmp_path, "ramdisk")
    assert certificate_names.advertised([A, B], cert) == told


def test_the_address_that_ironic_gets_verifies(network, tmp_path):
    network([[SIX, "192.0.2.7"]], a=[SIX])
    cert, _ = identity.certificate(wait(parameters())[0], tmp_path, "ramdisk")
    told = certificate_names.advertised([A], cert)
    verify = ["openssl", "verify", "-CAfile", cert, "-verify_ip", told, cert]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0


def test_no_route_at_all_is_an_oserror(network, tmp_path):
    network([[]], a=[UNKNOWN])
    with pytest.raises(OSError, match="not known"):
        certificate_names.advertised([A], str(tmp_path / "cert.pem"))
    with pytest.raises(OSError, match="no URL"):
        certificate_names.advertised([], str(tmp_path / "cert.pem"))
