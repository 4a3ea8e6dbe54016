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
    "", "\n", f"{B}  other.raw\n{C}  disk.raw\n", f"{A}\n{B}\n", "a" * 63,
    f"{'a' * 63}  disk.raw.xz",
    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n", FEDORA.replace(f"SHA256 (disk.raw.xz) = {A}\n", ""),
    f"MD5 (disk.raw.xz) = {A}",
])  # fmt: skip
def test_no_checksum(text):
    with pytest.raises(Failed) as failed:
        find(text)
    assert failed.value.code == "no_checksum"
    assert failed.value.message.startswith("https://mirror.example/SHA256SUMS has no checksum of disk.raw.xz; ")


def test_two_of_them():
    with pytest.raises(Failed, match=r"has two sha256 checksums of disk\.raw\.xz"):
        find(f"{A}  disk.raw.xz\n{B}  disk.raw.xz\n")


@pytest.mark.parametrize(("lines", "image"), [
    (["./1.0/os.raw", "*./1.1/os.raw"], "http://a/b/1.1/os.raw"), (["1.0/os.raw", "1.1/os.raw"], "/srv/1.1/os.raw"),
    (["netboot/gtk/mini.iso", "netboot/mini.iso"], "http://a/netboot/mini.iso"),
    (["mini.iso", "gtk/mini.iso"], "http://a/netboot/gtk/mini.iso"), (["old/mini.iso", "mini.iso"], "http://a/x/mini.iso"),
    (["x", "C:\\build\\1.1\\os.raw"], "http://a/1.1/os.raw"), (["x", "/build/17/os.raw"], "http://a/1.1/os.raw"),
    (["1.0\\os.raw", "1.1\\os.raw"], "http://a/1.1/os.raw"),
])  # fmt: skip
def test_of_several_directories_the_one_of_the_url(lines, image):
    assert find(f"{B}  {lines[0]}\n{A}  {lines[1]}\n", image) == ("sha256", A)


def test_lines_of_other_directories_only():
    with pytest.raises(Failed, match=r"os\.raw in other directories only \(\./1\.0/os\.raw, ") as failed:
        find(f"{A}  ./1.0/os.raw\n{B}  ./1.1/os.raw\n", "http://a/1.2/os.raw")
    assert failed.value.code == "no_checksum"


@pytest.mark.parametrize(("text", "url", "algorithm"), [
    (f"# SHA3-256\n{A}  disk.raw.xz\n", "SUMS", "sha3_256"), (f"SHA512/256:\n{A}  disk.raw.xz", "SUMS", "sha512_256"),
    (f"{A}{A}  disk.raw.xz\n", "B2SUMS", "blake2b"), (f"{A}{A}  disk.raw.xz\n", "SHA3-512SUMS", "sha3_512"),
    (f"{A}\n", "disk.raw.xz.sha3-256", "sha3_256"), (f"BLAKE2b (disk.raw.xz) = {A}{A}", "SHA256SUMS", "blake2b"),
    (f"SHA3-256:{A}  disk.raw.xz", "SUMS", "sha3_256"), (f"sha256:{A}  disk.raw.xz", "SUMS", "sha256"),
    (f"SHA256 hash of disk.raw.xz:\n{A}\nCertUtil: done", "sums.txt", "sha256"),
    (f"Algorithm       Hash    Path\n---------       ----    ----\nSHA256         {A.upper()}    C:\\b\\disk.raw.xz",
     "sums.txt", "sha256"),
    (f"MD5Sum:\n {'b' * 32} 77 24.04/disk.raw.xz\nSHA256:\n {A} 77 24.04/disk.raw.xz\n", "Release", "sha256"),
    (f"SHA1\n{A}  disk.raw.xz", "SUMS", "sha256"),
])  # fmt: skip
def test_the_algorithm_is_told_by_line_heading_and_file_name(text, url, algorithm):
    assert find(text, url=f"http://a/{url}") == (
        algorithm,
        A if len(A) == checksum_file.ALGORITHMS[algorithm] else A + A,
    )


def test_a_name_that_is_escaped():
    assert find(f"\\{A}  a\\\\b\\nc.raw", "http://a/a%5Cb%0Ac.raw") == ("sha256", A)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-8"])
def test_in_the_encodings_of_windows(encoding):
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    text = checksum_file.decoded(f"{mark}{A}  disk.raw.xz\r\n".encode(encoding))
    assert find(text) == ("sha256", A)


@pytest.mark.parametrize(("text", "sentence"), [
    ("<html>Not found</html>", "is an HTML page and not a checksum file: check what the URL returns"),
    ('{"error": 1}', "is a JSON document"), ("nothing here", "no line of it is a checksum and a name"),
    ("\n".join(f"{B}  {n}.raw" for n in range(5)), r"it lists 0\.raw, 1\.raw, 2\.raw and 2 more"),
])  # fmt: skip
def test_what_it_is_instead(text, sentence):
    with pytest.raises(Failed, match=sentence):
        find(text)


def test_fetched(serve):
    server = serve(f"{A}  disk.raw.xz\n".encode())
    assert checksum_file.look_up(Spec(server.url, {"X-Key": "1"}), IMAGE) == ("sha256", A)
    assert server.requests[0]["X-Key"] == "1"
    server.body = b"a" * (checksum_file.LIMIT + 1)
    with pytest.raises(Failed, match="has more than 1048576 bytes"):
        checksum_file.look_up(Spec(server.url), IMAGE)
