"""Several sources: which one is taken, what is said of the others, and what is on the disk in between."""

import os

import pytest

from tests.support.disk_content import MIB, assert_boots_nothing, content, digest, noise
from tests.support.plugin import PluginFailed
from tests.support.waiting import HANG_S

NOBODY = "http://127.0.0.1:1/disk.raw"


def write(call, disk, image, *sources, **more):
    given = [{"url": NOBODY, "patience_s": 0.5} if source == NOBODY else source for source in sources]
    return call("image.write", device=disk, sources=given, digest=digest(image), patience_s=HANG_S, **more)


@pytest.mark.root
def test_the_second_source_after_one_that_is_not_there(call, server, image, disk):
    answer = write(call, disk, image, NOBODY, server.url)
    assert answer["source"] == server.url
    assert [(failure["source"], failure["code"]) for failure in answer["failed"]] == [(NOBODY, "unreachable")]
    assert content(disk)[: len(image)] == image
    assert NOBODY in call.log


@pytest.mark.root
def test_an_image_that_turned_out_wrong_is_wiped_before_the_next_source_is_tried(call, serve, server, image, disk):
    other = serve(bytes(2 * MIB) + os.urandom(10 * MIB))
    found = []
    server.on_request = lambda habits: found.append(content(disk))
    answer = write(call, disk, image, other.url, server.url)
    assert [failure["code"] for failure in answer["failed"]] == ["digest_mismatch"]
    assert found[0][:MIB] == found[0][-MIB:] == bytes(MIB)
    assert content(disk)[: len(image)] == image
    assert content(disk)[-MIB:] == bytes(MIB)


@pytest.mark.root
def test_all_failed_names_each(call, serve, image, disk):
    wrong, missing = serve(os.urandom(4 * MIB)), serve(b"")
    missing.statuses = [404]
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, image, NOBODY, missing.url, wrong.url)
    assert failed.value.code == "no_source"
    for said in ("none of 3 sources", f"{NOBODY}: Connection refused", "HTTP 404", "has SHA-256", "wiped"):
        assert said in failed.value.message
    assert len(failed.value.details["failed"]) == 3
    assert_boots_nothing(disk)


@pytest.mark.root
@pytest.mark.parametrize(("first", "code"), [
    (b"QFI\xfb" + bytes(MIB), "wrong_format"), (bytes(17 * MIB), "too_large"),
])  # fmt: skip
def test_what_another_source_cannot_cure_ends_it(call, serve, server, image, disk, first, code):
    before = content(disk)
    with pytest.raises(PluginFailed) as failed:
        write(call, disk, image, serve(first).url, server.url)
    assert failed.value.code == code
    assert server.requests == []
    assert content(disk) == before


@pytest.mark.root
def test_a_file_and_its_own_headers_for_each_source(call, server, image, disk, tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(b"\1" * MIB)
    own = {"url": server.url, "headers": {"X-Key": "of-its-own"}}
    answer = write(call, disk, image, str(path), own, headers={"X-Key": "for-all"})
    assert (answer["transport"], answer["failed"][0]["code"]) == ("http", "digest_mismatch")
    assert server.requests[0]["X-Key"] == "of-its-own"
    path.write_bytes(image)
    assert write(call, disk, image, f"file://{path}")["transport"] == "file"


@pytest.mark.root
def test_sigterm_while_one_source_is_waited_for_is_the_end(call, server, image, disk):
    server.statuses = [503] * 1000
    running = call.start("image.write", device=disk, sources=[server.url, server.url + "2"], patience_s=60)
    running.wait_until(lambda: server.requests)
    running.terminate()
    with pytest.raises(PluginFailed, match="was not touched") as failed:
        running.finish()
    assert failed.value.code == "stopped"


@pytest.mark.root
def test_bytes_of_two_servers_that_do_not_fit_together_are_tried_alone(call, serve, server, image, disk):
    """The digest blames the mixture; the second server may have the right image all the same."""
    other = serve(noise(len(image)))
    other.cut_after = 2 * MIB
    other.on_request = lambda habits: len(habits.requests) > 1 and setattr(habits, "statuses", [404])
    answer = write(call, disk, image, other.url, server.url)
    assert [failure["code"] for failure in answer["failed"]] == ["http_error", "digest_mismatch"]
    assert server.requests[0]["Range"]
    assert "Range" not in server.requests[-1]
    assert content(disk)[: len(image)] == image
