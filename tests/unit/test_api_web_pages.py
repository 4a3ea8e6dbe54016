"""Which requests may come from a web page. The browser's headers are those that Firefox and Chromium send."""

import pytest

from agent_router.api import web_pages
from agent_router.schema.problems import RequestError

JSON = "application/json"


@pytest.fixture(autouse=True)
def hosts(tmp_path, monkeypatch):
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n127.0.1.1 node-17.lab.example node-17 # not.this\n")
    monkeypatch.setattr(web_pages, "HOSTS", str(path))


def verdict(method="POST", media_type="", **headers):
    """The code of the refusal, or ""."""
    environ = {"REQUEST_METHOD": method, **{f"HTTP_{name.upper()}": text for name, text in headers.items()}}
    if media_type:
        environ["CONTENT_TYPE"] = media_type
    try:
        web_pages.refuse(environ)
    except RequestError as error:
        return error.code
    return ""


@pytest.mark.parametrize("host", [
    "127.0.0.1:9999", "localhost:9999", "LOCALHOST", "localhost.", "agent.localhost", "[::1]:9999",
    "[fe80::1%eth0]:9999", "192.0.2.7:9999", "127.1", "node-17:9999", "node-17.lab.example", "other-node", "",
])  # fmt: skip
@pytest.mark.parametrize("media_type", ["", JSON, "application/x-www-form-urlencoded", "text/plain"])
def test_a_client_that_is_no_browser_notices_nothing(host, media_type):
    """curl --data says application/x-www-form-urlencoded."""
    assert verdict(media_type=media_type, host=host) == ""
    assert verdict(media_type=media_type) == ""


@pytest.mark.parametrize("host", [
    "evil.example:9999", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "not.this",
    "evil.example.", "node-17.evil.example", "127.0.0.1,evil.example", "[::1].evil.example",
    "127.0.0.1 evil.example", "1.2.3.4.evil:1",
])  # fmt: skip
def test_a_name_that_leads_here_but_is_not_ours(host):
    for method in ("GET", "POST", "DELETE"):
        assert verdict(method, JSON, host=host) == "host_unknown"
        assert verdict(method, JSON, host=host, origin=f"http://{host}") == "host_unknown"


@pytest.mark.parametrize("origin", [
    "http://evil.example", "null", "", "http://localhost:3000", "http://localhost", "http://127.0.0.1:9999",
    "file://", "chrome-extension://abcdef", "http://localhost:9999.evil.example", "http://localhost:9999/",
    "http://user@localhost:9999", "http://localhost:9999,http://localhost:9999",
])  # fmt: skip
def test_a_page_of_another_origin(origin):
    for media_type in (JSON, "text/plain", ""):
        assert verdict(media_type=media_type, host="localhost:9999", origin=origin) == "origin_foreign"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Same-Origin", ""])
def test_a_page_of_another_site_as_the_browser_says(site):
    assert verdict("GET", host="127.0.0.1:9999", sec_fetch_site=site) == "origin_foreign"


def test_a_short_name_is_nobodys_for_a_browser():
    assert verdict(media_type=JSON, host="evil:9999", origin="http://evil:9999") == "host_unknown"


@pytest.mark.parametrize("media_type", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data",
                                        "text/json", "application/jsonp", "application/xjson"])  # fmt: skip
def test_a_browser_sends_json_only(media_type):
    for sign in ({"origin": "http://localhost:9999"}, {"sec_fetch_site": "same-origin"}, {"referer": "http://x/"}):
        assert verdict(media_type=media_type, host="localhost:9999", **sign) == "media_type_invalid"


def test_a_page_or_a_tool_in_a_browser_of_the_agents_own_origin_may_do_all():
    own = {"host": "localhost:9999", "origin": "http://localhost:9999", "sec_fetch_site": "same-origin"}
    for media_type in (JSON, "Application/JSON; charset=utf-8", "application/problem+json"):
        assert verdict(media_type=media_type, **own) == ""
    assert verdict("GET", host="localhost:9999", sec_fetch_site="none") == ""
    assert verdict("DELETE", **own) == ""
