import pytest

from tests.support.disk_content import MIB, SHA, assert_boots_nothing, assert_told_truly, content, digest
from tests.support.plugin import PluginFailed


@pytest.mark.root
def test_a_chunked_image(call, server, image, disk):
    server.chunked = True
    answer = call("image.write", device=disk, sources=server.url, digest=digest(image))
    assert answer["bytes_written"] == len(image)
    assert content(disk)[: len(image)] == image


@pytest.mark.root
@pytest.mark.parametrize("etag", ['"one"', None, 'W/"weak"'])
def test_a_broken_connection_is_taken_up_again(call, server, image, disk, etag):
    server.cut_after = MIB + 77
    server.etag = etag
    answer = call("image.write", device=disk, sources=server.url, digest=digest(image))
    assert answer["resumed"] == 5
    assert content(disk)[: len(image)] == image
    assert not any("If-Range" in request for request in server.requests), "the digest will judge"


@pytest.mark.root
def test_a_broken_chunked_connection_is_taken_up_again(call, server, image, disk):
    server.cut_after, server.chunked = 2 * MIB, True
    # A chunked body that was cut has no end mark, so the last part must be whole.
    server.on_request = lambda habits: len(habits.requests) == 3 and setattr(habits, "cut_after", None)
    assert call("image.write", device=disk, sources=server.url, digest=digest(image))["resumed"] == 2
    assert content(disk)[: len(image)] == image


@pytest.mark.root
def test_an_image_replaced_meanwhile_is_not_mixed(call, server, image, disk):
    server.cut_after = 2 * MIB
    server.on_request = lambda habits: setattr(habits, "etag", f'"{len(habits.requests)}"')
    before = content(disk)
    with pytest.raises(PluginFailed, match="was replaced while it was read") as failed:
        call("image.write", device=disk, sources=server.url)
    assert_told_truly(disk, before, failed.value.partial)


@pytest.mark.root
@pytest.mark.parametrize("chunked", [False, True])
def test_without_ranges_all_is_read_again(call, server, image, disk, chunked):
    server.cut_after, server.ranges, server.chunked = 2 * MIB, False, chunked
    server.on_request = lambda habits: len(habits.requests) == 3 and setattr(habits, "cut_after", None)
    answer = call("image.write", device=disk, sources=server.url, digest=digest(image))
    assert (answer["resumed"], answer["stats"]) == (2, {"bytes_read_again": 4 * MIB})
    assert answer["bytes_read"] == len(image)
    assert content(disk)[: len(image)] == image


@pytest.mark.root
def test_another_image_that_is_read_again_is_found_out_by_its_digest(call, server, image, disk):
    server.cut_after, server.ranges, server.etag = 2 * MIB, False, None

    def replace(habits):
        if len(habits.requests) == 2:
            habits.body, habits.cut_after = image[::-1], None

    server.on_request = replace
    with pytest.raises(PluginFailed) as failed:
        call("image.write", device=disk, sources=server.url, digest=digest(image))
    assert (failed.value.code, failed.value.partial["disk"]) == ("digest_mismatch", "wiped")
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_server_without_ranges_that_always_breaks_off_there_is_given_up(call, server, image, disk):
    server.cut_after, server.ranges = 2 * MIB, False
    before = content(disk)
    with pytest.raises(PluginFailed, match=r"the server cannot resume \(no Range\) and broke off repeatedly") as failed:
        call("image.write", device=disk, sources=server.url, digest=digest(image))
    assert failed.value.code == "connection_lost"
    assert len(server.requests) == 5
    assert_told_truly(disk, before, failed.value.partial)


@pytest.mark.root
def test_sigterm_while_it_is_read_again(call, server, image, disk):
    server.cut_after, server.ranges = 2 * MIB, False

    def slowly(habits):
        if len(habits.requests) == 2:
            habits.cut_after, habits.drip = None, (1000, 0.02)

    server.on_request = slowly
    running = call.start("image.write", device=disk, sources=server.url, digest=digest(image))
    running.wait_until(lambda: "are read again" in running.log)
    running.terminate()
    with pytest.raises(PluginFailed, match=f"stopped after {2 * MIB} bytes") as failed:
        running.finish()
    assert failed.value.code == "stopped"
    assert_boots_nothing(disk)


@pytest.mark.root
def test_without_etag_and_digest_it_is_not_resumed(call, server, disk):
    server.cut_after, server.etag = 2 * MIB, None
    before = content(disk)
    with pytest.raises(PluginFailed, match="not safe") as failed:
        call("image.write", device=disk, sources=server.url)
    assert_told_truly(disk, before, failed.value.partial)


@pytest.mark.root
def test_a_server_that_falls_silent_is_given_up(call, server, image, disk):
    server.silent_after = MIB

    def then_dead(habits):
        if len(habits.requests) > 1:
            habits.statuses = [503]

    server.on_request = then_dead
    before = content(disk)
    with pytest.raises(PluginFailed, match=r"no new byte for 0\.6 s") as failed:
        call("image.write", device=disk, sources=server.url, digest=digest(image), patience_s=0.6)
    assert failed.value.code == "connection_lost"
    assert_told_truly(disk, before, failed.value.partial)


@pytest.mark.root
def test_a_server_that_is_not_up_yet_is_waited_for(call, server, image, disk):
    server.statuses = [503, 429]
    assert call("image.write", device=disk, sources=server.url, digest=digest(image))["resumed"] == 0


@pytest.mark.root
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://no-such-host.invalid/x"])
def test_an_unreachable_server_is_named(call, disk, url):
    with pytest.raises(PluginFailed, match=url) as failed:
        call("image.write", device=disk, sources=url, digest=SHA, patience_s=0.3)
    assert failed.value.code == "unreachable"


@pytest.mark.root
def test_a_server_that_announced_more_than_it_has(call, server, image, disk):
    server.announce = len(image) + 1024
    before = content(disk)
    with pytest.raises(PluginFailed, match=f"ends after {len(image)} bytes") as failed:
        call("image.write", device=disk, sources=server.url, digest=digest(image), patience_s=2)
    assert failed.value.code == "wrong_size"
    assert_told_truly(disk, before, failed.value.partial)


@pytest.mark.root
def test_a_chunked_image_of_the_wrong_size(call, server, image, disk):
    server.chunked = True
    before = content(disk)
    with pytest.raises(PluginFailed, match=f"gave {len(image)} bytes, expected {len(image) + 512}") as failed:
        call("image.write", device=disk, sources=server.url, size_bytes=len(image) + 512)
    assert_told_truly(disk, before, failed.value.partial)
