from agent_router.image.sources.own_address import own_address_towards


def test_the_address_that_faces_the_servers():
    assert own_address_towards(["magnet:?x", "http://127.0.0.1:80/x"]) == "127.0.0.1"
    assert own_address_towards(["/a/file.torrent", "http://[::1"[:7]]) == ""
