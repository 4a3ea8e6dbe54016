import gzip
import hashlib
import json
import os
import re
import subprocess

import pytest

from agent_router.schema.validation import Validator
from tests.support.disk_content import MIB, SHA, assert_boots_nothing, content, digest, noise
from tests.support.plugin import REPO, BadRequest, PluginFailed, problems
from tests.support.waiting import HANG_S


def registry_schema(name):
    """The request's schema with the $defs of the manifest."""
    manifest = json.loads((REPO / f"schemas/{name}.json").read_text())
    return {**manifest["request"], "$defs": manifest["$defs"]}


@pytest.mark.parametrize("request_", [
    {"device": "/dev/sda"}, {"device": "sda", "sources": "http://a/b"},
    {"device": "/dev/sda", "sources": []}, {"device": "/dev/sda", "sources": ""},
    {"device": "/dev/sda", "sources": "ftp://a/b"}, {"device": "/dev/sda", "sources": ["ftp://a/b"]},
    {"device": "/dev/sda", "sources": "http://user:secret@a/b"}, {"device": "/dev/sda", "sources": "disk.raw"},
    {"device": "/dev/sda", "sources": [{"url": "http://user:secret@a/b"}]},
    {"device": "/dev/sda", "sources": [{"headers": {}}]}, {"device": "/dev/sda", "sources": [{"url": "/x", "y": 1}]},
    {"device": "/dev/sda", "sources": "http://a/b", "digest": "12"},
    {"device": "/dev/sda", "sources": "http://a/b", "digest": []},
    {"device": "/dev/sda", "sources": "http://a/b", "format": "vmdk"},
    {"device": "/dev/sda", "sources": "http://a/b", "format": "auto"},
    {"device": "/dev/sda", "sources": "http://a/b", "zero": "yes"},
    {"device": "/dev/sda", "sources": "http://a/b", "headers": {"X": "1\r\nY: 2"}},
    {"device": "/dev/sda", "sources": "http://a/b", "size_bytes": 0},
    {"device": "/dev/sda", "sources": "http://a/b", "x": 1}, {"tree": "mnt", "sources": "http://a/b"},
])  # fmt: skip
def test_schema_refuses(request_):
    assert problems("image.write", "request", request_)


@pytest.mark.parametrize(("request_", "said", "secret"), [
    ({"sources": "http://me:s3cret@h/a.raw"}, "user name and password go into the header Authorization", "s3cret"),
    ({"sources": [{"url": "https://me:s3cret@h/a.raw"}]}, "into the header Authorization", "s3cret"),
    ({"sources": "s3://bucket/a.raw?X-Amz-Signature=s3cret"}, r"'s3://bucket/a\.raw\?\*\*\*' does not fit", "s3cret"),
    ({"sources": "images.example/a.raw"}, "does not fit: http://HOST/PATH", "s3cret"),
    ({"sources": "https:///a.raw"}, "http://HOST/PATH", "s3cret"),
    ({"sources": [{"url": "http://h/a", "patience": 5}]}, "did you mean patience_s?", "s3cret"),
    ({"sources": "http://h/a", "bmap": "http://me:s3cret@h/a.bmap"}, "header Authorization", "s3cret"),
    ({"sources": "http://h/a", "headers": {"a b": "x"}}, "Name of a header", "s3cret"),
])  # fmt: skip
def test_what_is_refused_by_its_form_is_said_in_words_and_without_secrets(request_, said, secret):
    schema = registry_schema("image.write")
    found = "; ".join(str(problem) for problem in Validator(schema).problems({"device": "/dev/x", **request_}))
    assert re.search(said, found), found
    assert secret not in found
    assert "given schemas" not in found
    assert "\\S" not in found


@pytest.mark.parametrize("sources", [
    "HTTPS://a.example/x", "/run/media/USB DISK/my image #1 50%.raw", "UDPCAST://239.0.0.1:9000", "FILE:///x",
    "http://a", "https://a.example:8443/x/y.raw?sig=a%20b", "http://[fd00::2]:80/x", "/srv/disk.raw", "file:///x",
    "magnet:?xt=urn:btih:00", "udpcast://239.0.0.1:9000", "iscsi://192.0.2.1/iqn.2026-01.x:y/1",
    ["https://a/b.meta4", {"url": "https://a/b.torrent", "headers": {"Authorization": "x"}, "ca": "/etc/ca.pem"}],
])  # fmt: skip
def test_schema_accepts(sources):
    for digest_ in (SHA, f"sha256:{SHA}", "https://a/SHA256SUMS", [SHA, "sha512:" + "0" * 128]):
        request = {"device": "/dev/sda", "sources": sources, "digest": digest_, "size_bytes": 1, "zero": "none"}
        assert not problems("image.write", "request", request)


@pytest.mark.root
def test_a_path_is_a_path_whatever_is_in_it(call, image, disk, tmp_path):
    place = tmp_path / "USB DISK"
    place.mkdir()
    file, sums = place / "my image #1 50%.raw", place / "SHA256SUMS"
    file.write_bytes(image)
    sums.write_text(f"{digest(image)}  {file.name}\n")
    call("image.write", device=disk, sources=str(file), digest=str(sums))
    assert content(disk)[: len(image)] == image


def test_headers_stay_out_of_the_environment(call):
    with pytest.raises(BadRequest):
        call("image.write", device="/dev/x", sources="http://a/b", headers={"A": 1})


@pytest.mark.root
def test_writes_an_image(call, server, image, disk):
    rest = content(disk)[len(image) : -MIB]
    answer = call("image.write", device=disk, sources=server.url, digest=digest(image).upper(), size_bytes=len(image))
    assert answer == {
        "device": disk, "format": "raw", "source": server.url, "transport": "http", "bytes_read": len(image),
        "bytes_written": len(image), "bytes_zeroed": 0, "digests": {"sha256": digest(image)}, "resumed": 0,
        "failed": [], "stats": {}, "seconds": answer["seconds"],
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
    call("image.write", device=disk, sources=serve(image).url, digest=digest(image))
    assert content(disk) == image


@pytest.mark.root
def test_an_image_smaller_than_what_is_held_back(call, serve, disk):
    image = noise(1024)
    call("image.write", device=disk, sources=serve(image).url, digest=digest(image))
    assert content(disk)[:1024] == image


@pytest.mark.root
def test_without_a_digest_it_writes_and_warns(call, server, image, disk):
    assert call("image.write", device=disk, sources=server.url)["digests"] == {"sha256": digest(image)}
    assert "No digest" in call.warnings[0]


@pytest.mark.root
def test_a_wrong_digest_leaves_nothing_that_boots(call, server, image, disk):
    with pytest.raises(PluginFailed, match="first and last MiB are wiped") as failed:
        call("image.write", device=disk, sources=server.url, digest=SHA)
    assert failed.value.code == "digest_mismatch"
    assert failed.value.details == {"expected": SHA, "found": digest(image)}
    assert_boots_nothing(disk)
    assert content(disk)[MIB : 2 * MIB] == image[MIB : 2 * MIB], "it was written, so the ends really were held back"


@pytest.mark.root
def test_the_ends_are_written_after_the_verdict(call, server, image, loop_disk):
    disk = loop_disk(6)
    server.body = image = noise(6 * MIB)
    server.silent_after = 5 * MIB
    running = call.start("image.write", device=disk, sources=server.url, digest=digest(image), patience_s=HANG_S)
    running.wait_for_event("done")
    running.wait_until(lambda: content(disk)[2 * MIB : 3 * MIB] == image[2 * MIB : 3 * MIB])
    assert_boots_nothing(disk)
    server.go_on.set()
    running.finish()
    assert content(disk) == image


@pytest.mark.root
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha512", "sha3_256", "blake2b"])
def test_every_digest_and_two_at_once(call, server, image, disk, algorithm):
    expected = {algorithm: hashlib.new(algorithm, image).hexdigest(), "sha384": hashlib.sha384(image).hexdigest()}
    given = [f"{name}:{digits}" for name, digits in expected.items()]
    assert call("image.write", device=disk, sources=server.url, digest=given)["digests"] == expected
    assert call.warnings == []
    call("image.write", device=disk, sources=server.url, digest=given[:1])
    assert bool(call.warnings) == (algorithm in ("md5", "sha1"))


@pytest.mark.root
def test_of_two_digests_both_must_be_right(call, server, image, disk):
    with pytest.raises(PluginFailed) as failed:
        call("image.write", device=disk, sources=server.url, digest=[digest(image), "sha512:" + "0" * 128])
    assert (failed.value.code, failed.value.details["expected"]) == ("digest_mismatch", "0" * 128)
    assert_boots_nothing(disk)


@pytest.mark.root
def test_a_digest_from_a_checksum_file(call, serve, server, image, disk):
    sums = serve(f"{'0' * 64}  other.raw\n{digest(image)} *disk.raw\n".encode())
    call("image.write", device=disk, sources=server.url, digest=sums.url)
    assert content(disk)[: len(image)] == image


@pytest.mark.root
def test_a_plan_tells_what_would_be_lost_and_touches_nothing(call, server, disk):
    table = "label: gpt\nsize=4MiB, name=old\n"
    subprocess.run(["sfdisk", "-q", "--no-reread", disk], input=table, text=True, check=True)
    before = content(disk)
    answer = call("image.write", action="plan", device=disk, sources=[server.url, "/srv/disk.raw"])
    assert answer["plan"]["sources"] == [server.url, "/srv/disk.raw"]
    assert any("16 MiB" in line and "partition table gpt" in line for line in answer["plan"]["lost"])
    assert content(disk) == before
    assert server.requests == []


@pytest.mark.root
def test_what_is_not_known_as_a_disk_is_written_with_a_warning(call, serve, disk):
    image = b"\xa5" * MIB
    call("image.write", device=disk, sources=serve(image).url, digest=digest(image))
    assert content(disk)[:MIB] == image
    assert "neither a partition table nor a file system" in call.warnings[0]


@pytest.mark.root
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_not_whole_sectors_is_refused_untouched(call, serve, disk, pack, chunked):
    before, server = content(disk), serve(pack(bytes(700)))
    server.chunked = chunked
    form = "raw" if pack is bytes else "gz"
    with pytest.raises(PluginFailed, match=r"700 bytes.*was not touched") as failed:
        call("image.write", device=disk, sources=server.url, format=form)
    assert failed.value.code == "wrong_size"
    assert content(disk) == before
