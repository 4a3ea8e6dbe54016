import pytest

from agent_router.conductor.plan import plan_of

API, CALLBACK = "http://192.0.2.1:6385", "http://192.0.2.1:6385/v1/continue_inspection"


@pytest.mark.parametrize("given", [{}, {"quiet": ""}, {"ipa-api-url": ""}, {"ipa-api-url": " , "}])
def test_without_a_url_no_conductor_waits(given):
    assert plan_of(given) is None


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
    plan = plan_of(given)
    assert (plan.api_urls, plan.inspect) == (urls, inspects)


def test_everything_else_is_taken_over():
    plan = plan_of({
        "ipa-api-url": API, "ipa-advertise-host": "192.0.2.7", "ipa-global-request-id": "req-1", "agent.node": "uuid",
        "ipa-inspection-collectors": "default,logs", "ipa-agent-token": "t",
    })  # fmt: skip
    assert (plan.advertise, plan.request_id, plan.node_uuid) == ("192.0.2.7", "req-1", "uuid")
    assert (plan.collectors, plan.token) == ("default,logs", "t")
