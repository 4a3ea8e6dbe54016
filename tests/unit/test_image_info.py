import pytest

from agent_router.image import info
from agent_router.plugin import Failed

SHA = "ab" * 32
GNU = f"# comment\n{'0' * 64}  other.raw\n{SHA} *disk.raw\n"
BSD = f"SHA256 (other.raw) = {'0' * 64}\nSHA256 (images/disk.raw) = {SHA}\n"


@pytest.mark.parametrize("text", [GNU, BSD, SHA + "\n", f"{SHA}  ./disk.raw\n{'0' * 64}  disk.raw.sig\n"])
def test_the_digest_in_a_checksum_file(text):
    assert info.from_file(text, "https://a/x/disk.raw?sig=1", "https://a/SUMS") == SHA


@pytest.mark.parametrize("text", ["", f"{SHA}  other.raw\n", "<html>"])
def test_a_checksum_file_without_the_image(text):
    with pytest.raises(Failed, match=r"https://a/SUMS has no checksum of disk.raw") as failed:
        info.from_file(text, "https://a/disk.raw", "https://a/SUMS?token=secret")
    assert failed.value.code == "no_checksum"


def test_os_hash_value_wins_over_checksum():
    given = {"checksum": "0" * 32, "os_hash_algo": "SHA256", "os_hash_value": SHA.upper(), "urls": ["http://a/x"]}
    assert info.digest(given) == ("sha256", SHA)


def test_the_algorithm_of_os_hash_value_may_be_told_by_its_length():
    assert info.digest({"os_hash_value": SHA}) == ("sha256", SHA)
