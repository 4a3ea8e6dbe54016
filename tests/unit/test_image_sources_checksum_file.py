"""Checksum files as they are really published."""

import pytest

from agent_router.image.sources import Spec, checksum_file
from agent_router.plugin import Failed

A, B, C = "a" * 64, "b" * 64, "c" * 64
IMAGE = "https://mirror.example/24.04/disk.raw.xz?sig=s3cret"
# The form of Fedora's CHECKSUM files.
FEDORA = f"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

# disk.raw.xz: 555555 bytes
SHA256 (disk.raw.xz) = {A}
# other.qcow2: 1 bytes
SHA256 (other.qcow2) = {B}
-----BEGIN PGP SIGNATURE-----

SHA256 (disk.raw.xz) = {C}
-----END PGP SIGNATURE-----
"""


def find(text: str, image: str = IMAGE, url: str = "https://mirror.example/SHA256SUMS"):
    return checksum_file.find(text, image, url)


@pytest.mark.parametrize("text", [
    A, f"{A}\n", f"  {A.upper()}  \n\n", f"\ufeff{A}\r\n",
    f"{A}  disk.raw.xz\n", f"{A} *disk.raw.xz\n", f"{A} *./24.04/disk.raw.xz\r\n", f"{A}\tdisk.raw.xz",
    f"# a comment\n{B}  other\n{A}  disk.raw.xz\n", f"{B}  disk.raw\n{A}  disk.raw.xz\n{C}  my-disk.raw.xz",
    f"SHA256 (disk.raw.xz) = {A}\n", f"SHA256(/build/disk.raw.xz)= {A}", f"SHA2-256(disk.raw.xz)= {A}",
    f"{A}  disk.raw.xz\n{A}  disk.raw.xz\n", FEDORA, f"BLAKE2b (disk.raw.xz) = {C * 2}\nSHA256 (disk.raw.xz) = {A}",
])  # fmt: skip
def test_forms(text):
    assert find(text) == ("sha256", A)


@pytest.mark.parametrize(("lengths", "algorithm"), [
    ([32], "md5"), ([40, 32], "sha1"), ([96, 40], "sha384"), ([128, 96], "sha512"), ([32, 40, 64, 96, 128], "sha256"),
])  # fmt: skip
def test_the_best_of_several(lengths, algorithm):
    assert find("\n".join(f"{'a' * n}  disk.raw.xz" for n in lengths))[0] == algorithm


@pytest.mark.parametrize(("image", "name"), [
    ("http://a/my%20disk.raw", "my disk.raw"), ("/srv/my disk.raw", "my disk.raw"),
    ("http://a/disk.raw.meta4", "disk.raw"), ("http://a/disk.raw.torrent?x=1", "disk.raw"),
    ("magnet:?xt=urn:btmh:1220aa&dn=disk.raw", "disk.raw"), ("http://a/ü.raw", "ü.raw"),
])  # fmt: skip
def test_the_name_of_the_image(image, name):
    assert find(f"{B}  other\n{A}  {name}", image) == ("sha256", A)


def test_a_file_named_after_the_image_may_tell_another_name():
    text = f"{A}  disk-build-17.raw\n"
    assert find(text, url="http://a/disk.raw.xz.sha256") == ("sha256", A)
    with pytest.raises(Failed):
        find(text, url="http://a/SHA256SUMS")
    with pytest.raises(Failed):
        find(text + f"{B}  other", url="http://a/disk.raw.xz.sha256")


@pytest.mark.parametrize("text", [
    "", "\n", "<html>Not found</html>", f"{B}  other.raw\n{C}  disk.raw\n", f"{A}\n{B}\n", "a" * 63,
    f"{'a' * 63}  disk.raw.xz",
    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n", FEDORA.replace(f"SHA256 (disk.raw.xz) = {A}\n", ""),
    f"MD5 (disk.raw.xz) = {A}",
])  # fmt: skip
def test_no_checksum(text):
    with pytest.raises(Failed) as failed:
        find(text)
    assert failed.value.code == "no_checksum"
    assert failed.value.message == "https://mirror.example/SHA256SUMS has no checksum of disk.raw.xz"


def test_two_of_them():
    with pytest.raises(Failed, match=r"has two sha256 checksums of disk\.raw\.xz"):
        find(f"{A}  disk.raw.xz\n{B}  old/disk.raw.xz\n")


def test_fetched(serve):
    server = serve(f"{A}  disk.raw.xz\n".encode())
    assert checksum_file.look_up(Spec(server.url, {"X-Key": "1"}), IMAGE) == ("sha256", A)
    assert server.requests[0]["X-Key"] == "1"
    server.body = b"a" * (checksum_file.LIMIT + 1)
    with pytest.raises(Failed, match="has more than 1048576 bytes"):
        checksum_file.look_up(Spec(server.url), IMAGE)
