import pytest

from agent_router.image.sources import metalink
from agent_router.plugin import Failed

# In the form that MirrorBrain and Metalink generators write.
REAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink" xmlns:x="http://x.example/">
  <generator>MirrorBrain/2.19.0</generator>
  <origin dynamic="true">http://download.example/disk.raw.xz.meta4</origin>
  <published>2026-01-02T03:04:05Z</published>
  <publisher><name>x</name><url>http://publisher.example</url></publisher>
  <file name="disk.raw.xz">
    <size>123456</size>
    <hash type="md5">9c3a6e5e3e9b6f5d6f9e0e6f7a1b2c3d</hash>
    <hash type="sha-256">AA11111111111111111111111111111111111111111111111111111111111111</hash>
    <hash type="sha-512">bb</hash>
    <pieces length="1048576" type="sha-1"><hash>0011</hash><hash>2233</hash></pieces>
    <signature mediatype="application/pgp-signature">-----BEGIN</signature>
    <url>http://last.example/disk.raw.xz</url>
    <url location="de" priority="2">http://second.example/disk.raw.xz</url>
    <metaurl mediatype="torrent" priority="2">http://t.example/disk.raw.xz.torrent</metaurl>
    <metaurl mediatype="application/metalink4+xml" priority="1">http://m.example/disk.meta4</metaurl>
    <url location="us" priority="1">
      https://first.example/disk.raw.xz?a=1&amp;b=2
    </url>
    <url priority="1">ftp://ftp.example/disk.raw.xz</url>
    <url priority="3">udpcast://239.1.2.3:9002</url>
    <metaurl mediatype="torrent" priority="1">udpcast://239.1.2.3</metaurl>
    <url priority="1">iscsi://portal.example/iqn/1</url>
    <url priority="1">file:///etc/shadow</url>
    <url priority="1">/dev/sda</url>
    <url priority="1">http://again.example/x.meta4</url>
    <x:url priority="1">http://extension.example/</x:url>
  </file>
</metalink>
"""
FILE = '<file name="x"><url>http://a/</url>{}</file>'


def document(inner: str, namespace: str = metalink.NAMESPACE, head: str = "") -> bytes:
    return f'{head}<metalink xmlns="{namespace}">{inner}</metalink>'.encode()


def test_a_real_one():
    found = metalink.parse(REAL, "x.meta4")
    assert found.urls == [
        "https://first.example/disk.raw.xz?a=1&b=2",
        "http://t.example/disk.raw.xz.torrent",
        "http://second.example/disk.raw.xz",
        "udpcast://239.1.2.3:9002",
        "http://last.example/disk.raw.xz",
    ]
    assert found.size_bytes == 123456
    assert found.digest == ("sha256", "aa" + "1" * 62)


def test_size_and_hashes_may_be_missing_and_broken_hashes_do_not_count():
    found = metalink.parse(document(FILE.format('<hash type="md5">11</hash><hash type="sha-1">22</hash>')), "x")
    assert (found.size_bytes, found.digest) == (None, None)


def test_not_hundreds_of_mirrors():
    many = "".join(f'<url priority="{n}">http://a/{n}</url>' for n in range(1, 500))
    assert len(metalink.parse(document(FILE.format(many)), "x").urls) == metalink.MOST_URLS


@pytest.mark.parametrize(("text", "sentence"), [
    (b"", "no element found"),
    (b"<html><body>Not found</body></html>", "its root element is html"),
    (b"\x00\x01rubbish", "not well-formed"),
    (document(FILE.format(""))[:-5], "x.meta4 is not a Metalink 4"),
    (document(FILE.format(""), "http://www.metalinker.org/"), "it is of version 3"),
    (document(FILE.format(""), "http://other.example/"), "its root element is metalink"),
    (document(""), "lists 0 files"),
    (document(FILE.format("") * 2), "lists 2 files; a Metalink of exactly one"),
    (document('<file name="x"><url>ftp://a/b</url></file>'), "lists no URL"),
    (document(FILE.format("<size>many</size>")), "'many' is no size"),
    (document(FILE.format("<size>-1</size>")), "'-1' is no size"),
    (document(FILE.format('<hash type="sha-256">xyz</hash>')), "'xyz' is no hash"),
    (document('<file name="x"><url priority="0">http://a/</url></file>'), "'0' is no priority"),
])  # fmt: skip
def test_what_is_none(text, sentence):
    with pytest.raises(Failed, match=sentence) as failed:
        metalink.parse(text, "x.meta4")
    assert failed.value.code == "bad_metalink"


def test_a_billion_laughs():
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE metalink [<!ENTITY a0 "ha">{entities}]>'
    with pytest.raises(Failed, match="declares a document type"):
        metalink.parse(document(FILE.format("<size>&a11;</size>"), head=bomb), "x")


@pytest.mark.parametrize("head", [
    '<!DOCTYPE metalink [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE metalink SYSTEM "http://evil.example/x.dtd">',
    '<!DOCTYPE metalink [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
])  # fmt: skip
def test_nothing_from_outside_is_read(head):
    with pytest.raises(Failed, match="declares a document type"):
        metalink.parse(document(FILE.format("<size>&a;</size>"), head=head), "x")


def test_deep_nesting_and_a_megabyte_of_text():
    with pytest.raises(Failed, match="nested more than 32 deep"):
        metalink.parse(document(FILE.format("<a>" * 50_000 + "</a>" * 50_000)), "x")
    with pytest.raises(Failed, match=r"'9{80}' is no size"):
        metalink.parse(document(FILE.format(f"<size>{'9' * 900_000}</size>")), "x")
