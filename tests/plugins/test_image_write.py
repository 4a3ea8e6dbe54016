import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from image_server import ImageServer
from plugin_harness import BadRequest, PluginFailed, problems

MIB = 1 << 20
SHA = "9" * 64


@pytest.fixture
def image():
    # Neither a multiple of a buffer nor of a sector; no byte pattern repeats at a buffer's distance.
    return os.urandom(5 * MIB + 12345)


@pytest.fixture
def serve():
    servers = []

    def start(body):
        servers.append(ImageServer(body))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(serve, image):
    return serve(image)


@pytest.fixture
def disk(loop_disk):
    return loop_disk(16)


def content(device: str) -> bytes:
    return Path(device).read_bytes()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_boots_nothing(disk: str) -> None:
    data = content(disk)
    assert data[:MIB].count(0) == MIB
    assert data[-MIB:].count(0) == MIB


@pytest.mark.parametrize("request_", [
    {"device": "/dev/sda"}, {"url": "http://a/b"}, {"device": "sda", "url": "http://a/b"},
    {"device": "/dev/sda", "url": "ftp://a/b"}, {"device": "/dev/sda", "url": "file:///etc/passwd"},
    {"device": "/dev/sda", "url": "http://user:secret@a/b"},
    {"device": "/dev/sda", "url": "http://a/b", "sha256": "12"},
    {"device": "/dev/sda", "url": "http://a/b", "headers": {"X": "1\r\nY: 2"}},
    {"device": "/dev/sda", "url": "http://a/b", "size_bytes": 0},
    {"device": "/dev/sda", "url": "http://a/b", "x": 1},
])  # fmt: skip
def test_schema_refuses(request_):
    assert problems("image.write", "request", request_)


@pytest.mark.parametrize(
    "url", ["http://a", "https://a.example:8443/x/y.raw?sig=a%20b", "http://[fd00::2]:80/x"]
)
def test_schema_accepts(url):
    request = {
        "device": "/dev/sda",
        "url": url,
        "sha256": SHA,
        "size_bytes": 1,
        "headers": {"Authorization": "x"},
    }
    assert not problems("image.write", "request", request)


def test_headers_stay_out_of_the_environment(call):
    with pytest.raises(BadRequest):
        call("image.write", device="/dev/x", url="http://a/b", headers={"A": 1})


@pytest.mark.root
def test_writes_an_image(call, server, image, disk):
    rest = content(disk)[len(image) : -MIB]
    answer = call(
        "image.write", device=disk, url=server.url, sha256=digest(image).upper(), size_bytes=len(image)
    )
    assert answer == {
        "device": disk, "bytes_written": len(image), "sha256": digest(image), "resumed": 0,
        "seconds": answer["seconds"],
    }  # fmt: skip
    data = content(disk)
    assert data[: len(image)] == image
    assert data[len(image) : -MIB] == rest, "what the image does not cover is left as it is"
    assert data[-MIB:].count(0) == MIB, "an old backup GPT at the end of the disk must not survive"
    assert call.warnings == []
    final = call.events[-1]
    assert (final["done"], final["total"], final["message"]) == (
        len(image),
        len(image),
        "written and verified",
    )


@pytest.mark.root
def test_an_image_as_large_as_the_disk_fits(call, serve, loop_disk):
    disk, image = loop_disk(4), os.urandom(4 * MIB)
    call("image.write", device=disk, url=serve(image).url, sha256=digest(image))
    assert content(disk) == image


@pytest.mark.root
def test_an_image_smaller_than_what_is_held_back(call, serve, disk):
    image = os.urandom(700)
    call("image.write", device=disk, url=serve(image).url, sha256=digest(image))
    assert content(disk)[:700] == image


@pytest.mark.root
def test_without_a_digest_it_writes_and_warns(call, server, image, disk):
    assert call("image.write", device=disk, url=server.url)["sha256"] == digest(image)
    assert "No sha256" in call.warnings[0]


@pytest.mark.root
def test_a_chunked_image(call, server, image, disk):
    server.chunked = True
    answer = call("image.write", device=disk, url=server.url, sha256=digest(image))
    assert answer["bytes_written"] == len(image)
    assert content(disk)[: len(image)] == image


@pytest.mark.root
def test_a_wrong_digest_leaves_nothing_that_boots(call, server, image, disk):
    with pytest.raises(PluginFailed, match="first and last MiB are wiped") as failed:
        call("image.write", device=disk, url=server.url, sha256=SHA)
    assert failed.value.code == "digest_mismatch"
    assert failed.value.details == {"expected": SHA, "found": digest(image)}
    assert_boots_nothing(disk)
    assert content(disk)[MIB : 2 * MIB] == image[MIB : 2 * MIB], (
        "it was written, so the ends really were held back"
    )


@pytest.mark.root
def test_the_ends_are_written_after_the_verdict(call, server, image, loop_disk):
    disk = loop_disk(6)
    server.body = image = os.urandom(6 * MIB)
    server.pause_s = 0.01
    running = call.start("image.write", device=disk, url=server.url, sha256=digest(image))
    running.wait_for_event("done")
    with Path(disk).open("rb") as file:
        while os.pread(file.fileno(), MIB, 2 * MIB) != image[2 * MIB : 3 * MIB]:
            assert running.process.poll() is None
    assert_boots_nothing(disk)
    running.finish()
    assert content(disk) == image


@pytest.mark.root
@pytest.mark.parametrize("etag", ['"one"', None, 'W/"weak"'])
def test_a_broken_connection_is_taken_up_again(call, server, image, disk, etag):
    server.cut_after = MIB + 77
    server.etag = etag
    answer = call("image.write", device=disk, url=server.url, sha256=digest(image))
    assert answer["resumed"] == 5
    assert content(disk)[: len(image)] == image
    assert [request.get("If-Range") for request in server.requests[1:]] == [
        '"one"' if etag == '"one"' else None
    ] * 5


@pytest.mark.root
def test_a_broken_chunked_connection_is_taken_up_again(call, server, image, disk):
    server.cut_after, server.chunked = 2 * MIB, True
    # A chunked body that was cut has no end mark, so the last part must be whole.
    server.on_request = lambda habits: len(habits.requests) == 3 and setattr(habits, "cut_after", None)
    assert call("image.write", device=disk, url=server.url, sha256=digest(image))["resumed"] == 2
    assert content(disk)[: len(image)] == image


@pytest.mark.root
def test_an_image_replaced_meanwhile_is_not_mixed(call, server, image, disk):
    server.cut_after = 2 * MIB
    server.on_request = lambda habits: setattr(habits, "etag", f'"{len(habits.requests)}"')
    with pytest.raises(PluginFailed, match="was replaced while it was read"):
        call("image.write", device=disk, url=server.url, sha256=digest(image))
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_server_that_cannot_resume_is_named(call, server, image, disk):
    server.cut_after, server.ranges = 2 * MIB, False
    with pytest.raises(PluginFailed, match="the server cannot resume"):
        call("image.write", device=disk, url=server.url, sha256=digest(image))
    assert_boots_nothing(disk)


@pytest.mark.root
def test_without_etag_and_digest_it_is_not_resumed(call, server, disk):
    server.cut_after, server.etag = 2 * MIB, None
    with pytest.raises(PluginFailed, match="not safe"):
        call("image.write", device=disk, url=server.url)
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_server_that_falls_silent_is_given_up(call, server, image, disk):
    server.silent_after = MIB

    def then_dead(habits):
        if len(habits.requests) > 1:
            habits.statuses = [503]

    server.on_request = then_dead
    started = time.monotonic()
    with pytest.raises(PluginFailed, match=r"no new byte for 0\.6 s") as failed:
        call("image.write", device=disk, url=server.url, sha256=digest(image), patience_s=0.6)
    assert failed.value.code == "connection_lost"
    assert 0.6 <= time.monotonic() - started < 4
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_server_that_is_not_up_yet_is_waited_for(call, server, image, disk):
    server.statuses = [503, 429]
    assert call("image.write", device=disk, url=server.url, sha256=digest(image))["resumed"] == 0


@pytest.mark.root
@pytest.mark.parametrize(("habits", "request_", "code", "message"), [
    ({"statuses": [404]}, {}, "http_error", "HTTP 404 Not Found"),
    ({"statuses": [401]}, {}, "http_error", "HTTP 401"),
    ({"announce": 17 * MIB}, {}, "too_large", "the image has 17825792 bytes"),
    ({}, {"size_bytes": 5}, "wrong_size", "expected were 5"),
    ({"encoding": "gzip"}, {}, "encoded", "sends it as gzip"),
    ({"body": b""}, {}, "empty", "is empty"),
    ({"body": b"QFI\xfb\0\0\0\3" * 100}, {}, "not_raw", "is qcow2"),
    ({"body": b"\x1f\x8b\x08" * 100}, {}, "not_raw", "is gzip"),
    ({"redirect": "ftp://127.0.0.1/x"}, {}, "unreachable", "unknown url type: ftp"),
])  # fmt: skip
def test_refused_before_the_first_write(call, server, disk, habits, request_, code, message):
    before = content(disk)
    for key, value in habits.items():
        setattr(server, key, value)
    with pytest.raises(PluginFailed, match=message) as failed:
        call("image.write", device=disk, url=server.url, sha256=SHA, patience_s=1, **request_)
    assert failed.value.code == code
    assert "was not touched" in failed.value.message
    assert content(disk) == before


@pytest.mark.root
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://no-such-host.invalid/x"])
def test_an_unreachable_server_is_named(call, disk, url):
    with pytest.raises(PluginFailed, match=url) as failed:
        call("image.write", device=disk, url=url, sha256=SHA, patience_s=0.3)
    assert failed.value.code == "unreachable"


@pytest.mark.root
def test_an_image_that_turns_out_too_large(call, server, loop_disk):
    disk = loop_disk(4)
    server.chunked = True
    with pytest.raises(PluginFailed, match=f"the image is larger, {disk} has {4 * MIB}") as failed:
        call("image.write", device=disk, url=server.url)
    assert failed.value.code == "too_large"
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_server_that_announced_more_than_it_has(call, server, image, disk):
    server.announce = len(image) + 1000
    with pytest.raises(PluginFailed, match=f"ends after {len(image)} bytes") as failed:
        call("image.write", device=disk, url=server.url, sha256=digest(image), patience_s=2)
    assert failed.value.code == "wrong_size"
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_chunked_image_of_the_wrong_size(call, server, image, disk):
    server.chunked = True
    with pytest.raises(PluginFailed, match=f"gave {len(image)} bytes, expected were {len(image) + 1}"):
        call("image.write", device=disk, url=server.url, size_bytes=len(image) + 1)
    assert_boots_nothing(disk)


@pytest.mark.root
def test_sigterm_in_the_middle_wipes_the_ends(call, server, image, disk):
    server.pause_s = 0.05
    running = call.start("image.write", device=disk, url=server.url, sha256=digest(image))
    running.wait_for_event("done")
    running.terminate()
    running.terminate()
    with pytest.raises(PluginFailed, match=r"stopped after \d+ bytes") as failed:
        running.finish()
    assert (failed.value.code, failed.value.exit_status) == ("stopped", 1)
    assert failed.value.partial["disk"] == "wiped"
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_disk_in_use_is_left_alone(call, server, disk, tmp_path):
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    mountpoint = tmp_path / "mount"
    mountpoint.mkdir()
    subprocess.run(["mount", disk, str(mountpoint)], check=True)
    try:
        with pytest.raises(PluginFailed, match="is mounted at") as failed:
            call("image.write", device=disk, url=server.url)
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)
    assert failed.value.exit_status == 77
    assert server.requests == []


@pytest.mark.root
def test_headers_are_sent_but_never_said(call, server, disk):
    server.statuses = [503, 404]
    secret = {"Authorization": "Bearer s3cret", "X-Key": "s3cret"}
    with pytest.raises(PluginFailed) as failed:
        call("image.write", device=disk, url=server.url + "?sig=s3cret", headers=secret, patience_s=1)
    assert server.requests[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in failed.value.message + call.log + str(call.events) + str(failed.value.details)


@pytest.mark.root
def test_headers_do_not_follow_a_redirect_to_another_server(call, serve, server, image, disk):
    elsewhere = serve(image)
    server.redirect = elsewhere.url
    call(
        "image.write",
        device=disk,
        url=server.url,
        sha256=digest(image),
        headers={"Authorization": "s3cret", "X-Key": "k"},
    )
    assert server.requests[0]["X-Key"] == "k"
    assert not {"Authorization", "X-Key", "X-key"} & set(elsewhere.requests[0])


@pytest.mark.root
def test_headers_follow_a_redirect_on_the_same_server(call, server, image, disk):
    server.redirect = server.url + "2"
    server.on_request = lambda habits: len(habits.requests) == 2 and setattr(habits, "redirect", None)
    call(
        "image.write", device=disk, url=server.url, sha256=digest(image), headers={"Authorization": "s3cret"}
    )
    assert [request["Authorization"] for request in server.requests] == ["s3cret", "s3cret"]
