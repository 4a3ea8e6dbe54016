"""The headers of image.write, which may be secrets: who gets them."""

import pytest

from tests.support.disk_content import digest
from tests.support.plugin import PluginFailed


@pytest.mark.root
def test_headers_are_sent_but_never_said(call, server, disk):
    server.statuses = [503, 404]
    secret = {"Authorization": "Bearer s3cret", "X-Key": "s3cret"}
    with pytest.raises(PluginFailed) as failed:
        call("image.write", device=disk, sources=server.url + "?sig=s3cret", headers=secret, patience_s=1)
    assert server.requests[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in failed.value.message + call.log + str(call.events) + str(failed.value.details)


@pytest.mark.root
def test_headers_do_not_follow_a_redirect_to_another_server(call, serve, server, image, disk):
    elsewhere = serve(image)
    server.redirect = elsewhere.url
    call(
        "image.write",
        device=disk,
        sources=server.url,
        digest=digest(image),
        headers={"Authorization": "s3cret", "X-Key": "k"},
    )
    assert server.requests[0]["X-Key"] == "k"
    assert not {"Authorization", "X-Key", "X-key"} & set(elsewhere.requests[0])


@pytest.mark.root
def test_headers_follow_a_redirect_on_the_same_server(call, server, image, disk):
    server.redirect = server.url + "2"
    server.on_request = lambda habits: len(habits.requests) == 2 and setattr(habits, "redirect", None)
    call("image.write", device=disk, sources=server.url, digest=digest(image), headers={"Authorization": "s3cret"})
    assert [request["Authorization"] for request in server.requests] == ["s3cret", "s3cret"]
