from agent_router.image.sources import Spec
from agent_router.image.sources.torrent.web_seed import troubles


def test_what_is_wrong_with_a_web_seed(serve):
    good, without, missing = serve(b"x" * 99), serve(b"x" * 99), serve(b"")
    without.ranges, missing.statuses = False, [404]
    spec = Spec("http://127.0.0.1:1/x.torrent", {"Authorization": "Bearer s3cret"})
    found = troubles([good.url, f"{without.url}?sig=s3cret", missing.url], spec)
    assert len(found) == 2
    assert found[0].startswith(f"the web seed {without.url} does not support ranges")
    assert "HTTP 404" in found[1]
    assert "s3cret" not in str(found)
    assert "Authorization" not in without.requests[0]
