import hashlib

import pytest

from agent_router.image.engine import digest
from agent_router.plugin import Failed, InvalidRequest

SHA = "ab" * 32


def refuse(url):
    raise AssertionError(url)


@pytest.mark.parametrize(("given", "expected"), [
    (None, {}), ([], {}), (SHA, {"sha256": SHA}), (SHA.upper(), {"sha256": SHA}), (f"SHA-256:{SHA}", {"sha256": SHA}),
    ("ab" * 64, {"sha512": "ab" * 64}), ("blake2b:" + "0" * 128, {"blake2b": "0" * 128}), ("0" * 32, {"md5": "0" * 32}),
    ([SHA, "md5:" + "0" * 32], {"sha256": SHA, "md5": "0" * 32}), ([SHA, SHA.upper()], {"sha256": SHA}),
])  # fmt: skip
def test_forms(given, expected):
    assert digest.parse(given, refuse) == expected


@pytest.mark.parametrize("given", ["https://a/SUMS", "http://a/SUMS", "file:///SUMS", "/srv/SUMS"])
def test_a_checksum_file_is_looked_up(given):
    assert digest.parse([given], lambda url: ("sha1", url)) == {"sha1": given}


@pytest.mark.parametrize("given", ["crc32:00000000", "shake_128:" + "0" * 64, "sha256:" + "0" * 32, "0" * 33, "g" * 64,
                                   [SHA, "0" * 64]])  # fmt: skip
def test_what_is_no_digest_is_refused(given):
    with pytest.raises(InvalidRequest) as refused:
        digest.parse(given, refuse)
    assert refused.value.code == "bad_checksum"


def test_the_verdict_is_on_every_digest():
    data = b"image"
    right = {name: hashlib.new(name, data).hexdigest() for name in ("sha256", "md5")}
    for wrong in (None, *right):
        digests = digest.Digests({**right, **({wrong: "0" * len(right[wrong])} if wrong else {})})
        for work in digests.hashers:
            work(memoryview(data))
        assert digests.found() == right
        if wrong is None:
            digests.judge("http://a/x")
        else:
            with pytest.raises(Failed, match=r"http://a/x has \S+ \w+, expected 0+"):
                digests.judge("http://a/x")


def test_without_any_it_is_sha256_that_is_told():
    digests = digest.Digests({})
    digests.update(b"x")
    digests.judge("x")
    assert digests.found() == {"sha256": hashlib.sha256(b"x").hexdigest()}


@pytest.mark.parametrize(("wanted", "said"), [
    ({}, "No digest"), ({"md5": "", "sha1": ""}, "md5 and sha1"), ({"md5": "", "sha256": ""}, None),
])  # fmt: skip
def test_warnings(monkeypatch, wanted, said):
    told = []
    monkeypatch.setattr(digest.plugin, "warn", told.append)
    digest.warn(wanted)
    assert [said] == [said for text in told if said and said in text] if said else told == []
