"""The kernel command line, read as what a boot is for."""

import pytest

from agent_router.conductor.boot_parameters import boot_parameters
from agent_router.config.settings import SettingsError

API, CALLBACK = "http://192.0.2.1:6385", "http://192.0.2.1:6385/v1/continue_inspection"


@pytest.mark.parametrize("given", [{}, {"quiet": ""}, {"ipa-api-url": ""}, {"ipa-api-url": " , "}])
def test_without_a_url_no_conductor_waits(given):
    assert boot_parameters(given) is None


@pytest.mark.parametrize(
    ("given", "urls", "inspects"),
    [
        ({"ipa-api-url": API}, [API], False),
        ({"ipa-api-url": f"{API}, https://b/"}, [API, "https://b/"], False),
        ({"ipa-inspection-callback-url": CALLBACK}, [], True),
        ({"ipa-api-url": API, "ipa-inspection-callback-url": CALLBACK}, [API], True),
        ({"ipa-api-url": API, "ipa-inspection-collectors": "default"}, [API], True),
    ],
)
def test_what_the_boot_is_for(given, urls, inspects):
    parameters = boot_parameters(given)
    assert (parameters.api_urls, parameters.inspect) == (urls, inspects)


def test_everything_else_is_taken_over():
    parameters = boot_parameters(
        {
            "ipa-api-url": API,
            "ipa-advertise-host": "192.0.2.7",
            "ipa-global-request-id": "req-1",
            "agent.node": "uuid",
            "ipa-inspection-collectors": "default,logs",
            "ipa-agent-token": "t",
        }
    )
    assert (parameters.advertise, parameters.request_id, parameters.node_uuid) == ("192.0.2.7", "req-1", "uuid")
    assert (parameters.collectors, parameters.token) == ("default,logs", "t")


def test_callbacks_may_be_several():
    parameters = boot_parameters({"ipa-inspection-callback-url": f"{CALLBACK},http://b/v1/continue_inspection"})
    assert parameters.inspection_urls == [CALLBACK, "http://b/v1/continue_inspection"]
    assert parameters.urls == parameters.inspection_urls


def test_what_tls_and_dhcp_are_to_do():
    assert boot_parameters({"ipa-api-url": API}).dhcp_wait_s == 60
    parameters = boot_parameters(
        {
            "ipa-api-url": API,
            "ipa-tls-min-version": "1.3",
            "ipa-tls-cipher-suites": "ECDHE+AESGCM",
            "ipa-inspection-dhcp-wait-timeout": "0",
            "ipa-inspection-dhcp-all-interfaces": "True",
            "BOOTIF": "01-52-54-00-aa-00-01",
            "ipa-advertise-host": "[2001:db8::7]",
        }
    )
    assert (parameters.tls_minimum, parameters.tls_ciphers) == ("1.3", "ECDHE+AESGCM")
    assert (parameters.dhcp_wait_s, parameters.dhcp_all, parameters.boot_mac) == (0, True, "01-52-54-00-aa-00-01")
    assert parameters.advertise == "2001:db8::7"


@pytest.mark.parametrize(
    "given",
    [
        {"ipa-api-url": "mdns"},
        {"ipa-api-url": f"{API},mdns"},
        {"ipa-inspection-callback-url": "mdns", "ipa-api-url": API},
        {"ipa-use-mdns": "true"},
    ],
)
def test_discovery_by_multicast_is_refused_with_the_cure(given):
    with pytest.raises(SettingsError, match=r"mdns.* is not supported.*name Ironic itself, as in ipa-api-url=http"):
        boot_parameters(given)


def test_allowed_discovery_is_not_used_where_ironic_is_named():
    assert boot_parameters({"ipa-use-mdns": "true", "ipa-api-url": API}).api_urls == [API]


@pytest.mark.parametrize("url", ["192.0.2.1:6385", "ftp://a/", "http://", "http://a:b", "https://a:99999", "mDNS"])
def test_an_invalid_url_is_named(url):
    with pytest.raises(SettingsError, match=r"ipa-api-url: .* is not a URL; give one such as http"):
        boot_parameters({"ipa-api-url": url})
