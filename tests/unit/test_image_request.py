import json
import re
from pathlib import Path

import pytest

from agent_router.image import request, write
from agent_router.plugin import InvalidRequest

ROOT = Path(__file__).resolve().parents[2]


def test_what_the_request_says_for_all_holds_unless_a_source_says_otherwise():
    own = {"url": "https://b/x", "headers": {"B": "2"}, "patience_s": 5, "proxy": "http://p:1", "ca": "/b.pem"}
    common = {"headers": {"A": "1"}, "patience_s": 30, "ca": "/a.pem", "key": "k", "size_bytes": 7, "linger_s": 60}
    first, second = request.source_specs({"sources": ["https://a/x", own], "device": "/dev/x", **common}, True)
    assert (first.url, first.headers, first.patience_s, first.ca, first.proxies) == (
        "https://a/x",
        {"A": "1"},
        30,
        "/a.pem",
        {},
    )
    assert (second.headers, second.patience_s, second.ca) == ({"B": "2"}, 5, "/b.pem")
    assert second.proxies == {"http": "http://p:1", "https": "http://p:1"}
    for spec in (first, second):
        assert (spec.key, spec.size_bytes, spec.device, spec.digest_known) == ("k", 7, "/dev/x", True)
        assert spec.extras["linger_s"] == 60


def test_one_url_is_a_list_of_one():
    assert [spec.url for spec in request.source_specs({"sources": "/srv/x"}, False)] == ["/srv/x"]


@pytest.mark.parametrize(("given", "code"), [
    ({}, "no_place"), ({"device": None}, "no_place"), ({"device": "/dev/x", "tree": "/mnt"}, "no_place"),
    ({"device": "/dev/x", "format": "tar"}, "wrong_format"), ({"tree": "/mnt", "format": "zst"}, "wrong_format"),
    ({"device": "/dev/x", "format": "qcow2", "bmap": "/x"}, "bad_bmap"),
    ({"tree": "/mnt", "format": "tar.gz", "bmap": "/x"}, "bad_bmap"),
])  # fmt: skip
def test_no_place(given, code):
    with pytest.raises(InvalidRequest) as refused:
        request.refuse_contradictions(given)
    assert refused.value.code == code


@pytest.mark.parametrize("given", [
    {"device": "/dev/x"}, {"device": "/dev/x", "bmap": "/x"}, {"tree": "/mnt", "format": "tar.xz", "device": None},
])  # fmt: skip
def test_a_place(given):
    request.refuse_contradictions(given)


def test_every_code_that_the_engine_raises_is_in_the_manifest():
    raised = re.compile(r"\b(?:Failed|InvalidRequest|Refused|Retry|Incompatible)\(\s*\"([a-z0-9_]+)\"")
    room = (ROOT / "agent_router/image").rglob("*.py")  # image.write goes through all of it, and nothing else does
    codes = {code for path in room for code in raised.findall(path.read_text())}
    assert {"digest_mismatch", "unsafe_image", "not_empty"} <= codes
    assert codes - declared() == set()


def test_every_code_has_its_cure_in_the_guide():
    rows = [line.split("|") for line in (ROOT / "docs/images.md").read_text().splitlines() if line.startswith("| `")]
    cured = {code for row in rows if len(row) == 5 and row[3].strip() for code in re.findall("`([a-z_]+)`", row[1])}
    assert declared() - cured == set()


def declared():
    return set(json.loads((ROOT / "schemas/image.write.json").read_text())["errors"])


def test_what_would_be_lost(monkeypatch):
    part = {"kname": "sda1", "type": "part", "size": 3 << 30, "fstype": "ext4", "label": "root", "pttype": "gpt"}
    disk = {"kname": "sda", "type": "disk", "size": "500107862016", "pttype": "gpt", "children": [part]}
    monkeypatch.setattr(write.lsblk, "tree", lambda device: [disk])
    monkeypatch.setattr(write.blockdev, "kernel_name", lambda device: "sda")
    monkeypatch.setattr(write.blockdev, "uses", lambda name: ["sda1 is mounted at /"])
    assert write.what_would_be_lost("/dev/sda") == [
        "/dev/sda: 465.8 GiB, partition table gpt",
        "/dev/sda1: 3 GiB, ext4, labelled root",
        "it would be refused now: sda1 is mounted at /",
    ]
