import pytest

from agent_router.deploy import image_info
from agent_router.plugin import Failed, Incompatible, InvalidRequest

SHA = "ab" * 32
URL = "http://192.0.2.1/x.raw"


@pytest.mark.parametrize(("declared", "expected"), [
    (None, "raw"), ("", "raw"), ("raw", "raw"), ("qcow2", "qcow2"), ("zst", "zst"),
])  # fmt: skip
def test_the_declared_format(declared, expected):
    assert image_info.image_format({"disk_format": declared}) == expected


@pytest.mark.parametrize(("given", "code"), [
    ({"disk_format": "vmdk"}, "wrong_format"), ({"disk_format": "tar"}, "wrong_format"),
    ({"image_type": "partition"}, "partition_image"),
])  # fmt: skip
def test_what_cannot_be_written(given, code):
    with pytest.raises(Incompatible) as failed:
        image_info.image_format(given)
    assert failed.value.code == code


def test_os_hash_value_wins_over_checksum():
    given = {"checksum": "0" * 32, "os_hash_algo": "SHA256", "os_hash_value": SHA.upper(), "urls": [URL]}
    assert image_info.digest_of(given) == ("sha256", SHA)


def test_the_algorithm_of_os_hash_value_may_be_told_by_its_length():
    assert image_info.digest_of({"os_hash_value": SHA}) == ("sha256", SHA)


@pytest.mark.parametrize(("given", "code"), [
    ({}, "no_checksum"), ({"checksum": "12"}, "bad_checksum"),
    ({"os_hash_algo": "crc", "os_hash_value": "00"}, "bad_checksum"),
])  # fmt: skip
def test_no_digest_no_deployment(given, code):
    with pytest.raises(InvalidRequest) as failed:
        image_info.digest_of(given)
    assert failed.value.code == code


def test_the_place_of_an_image():
    given = {
        "urls": [URL + ".meta4"],
        "proxies": {"http": "http://p:3128"},
        "no_proxy": "a,b",
        "image_server_user": "u",
        "image_server_password": "p",
    }
    spec = image_info.spec(given, digest_known=True)
    assert (spec.url, spec.is_metalink, spec.digest_known) == (URL + ".meta4", True, True)
    assert spec.proxies == {"http": "http://p:3128", "no": "a,b"}
    assert spec.headers == {"Authorization": "Basic dTpw"}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http:///x", "http://u:p@h/x", "magnet:?xt=urn:btih:00"])
def test_what_ironic_may_not_name(url):
    with pytest.raises(Failed) as failed:
        image_info.spec({"urls": [url]}, digest_known=True)
    assert failed.value.code == "bad_url"
