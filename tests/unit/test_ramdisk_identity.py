import shutil
import ssl
import stat
import subprocess
import time

import pytest

from agent_router.ramdisk import identity

DAY_S = 86400


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def test_the_token_of_the_boot_loader_is_taken_and_kept(tmp_path):
    assert identity.token("0123456789abcdef", tmp_path) == "0123456789abcdef"
    assert identity.token("", tmp_path) == "0123456789abcdef"
    assert identity.token("another-token-123", tmp_path) == "another-token-123"


def test_without_one_a_secret_token_is_made_once(tmp_path):
    made = identity.token("", tmp_path)
    assert len(made) == 48
    assert identity.token("", tmp_path) == made
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_the_certificate_names_every_address_and_stays(tmp_path):
    cert, key = identity.certificate(["192.0.2.7", "2001:db8::7"], tmp_path, "ramdisk")
    text = openssl("x509", "-in", cert, "-noout", "-text")
    assert "IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7, DNS:ramdisk" in text
    assert "NIST CURVE: P-256" in text
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    before = identity.fingerprint(cert)
    assert identity.certificate(["198.51.100.1"], tmp_path, "other") == (cert, key)
    assert identity.fingerprint(cert) == before


def test_the_certificate_is_its_own_authority_and_fits_the_key(tmp_path):
    cert, key = identity.certificate(["192.0.2.7"], tmp_path, "ramdisk")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    assert "OK" in openssl("verify", "-CAfile", cert, "-purpose", "sslserver", "-verify_ip", "192.0.2.7", cert)


def test_the_names_of_an_operators_certificate_are_not_known(tmp_path):
    assert identity.names_of(str(tmp_path / "cert.pem")) == []


def test_the_fingerprint_is_what_openssl_shows(tmp_path):
    cert, _ = identity.certificate([], tmp_path, "ramdisk")
    shown = openssl("x509", "-in", cert, "-noout", "-fingerprint", "-sha256")
    assert shown.strip().split("=")[1].lower() == identity.fingerprint(cert)


def test_a_half_made_pair_is_made_again(tmp_path):
    (tmp_path / "cert.pem").write_text("cut off")
    cert, key = identity.certificate(["192.0.2.7"], tmp_path, "ramdisk")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cert.pem", "key.pem", "names"]
    assert identity.names_of(cert) == ["192.0.2.7"]
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)


@pytest.mark.parametrize("off_days", [-9000, -1, 0, 1, 900, 9000])
def test_a_clock_that_is_wrong_at_start_does_no_harm(off_days):
    built = 1.7e9
    really = built + 5 * 365 * DAY_S
    begin, end = identity.validity(really + off_days * DAY_S, built)
    assert begin <= really <= end


def test_the_dates_are_in_the_certificate(tmp_path):
    cert, _ = identity.certificate([], tmp_path, "ramdisk")
    decoded = openssl("x509", "-in", cert, "-noout", "-startdate", "-enddate").splitlines()
    begin, end = (ssl.cert_time_to_seconds(line.split("=")[1]) for line in decoded)
    assert begin <= time.time() - 3590
    assert time.time() + 364 * DAY_S < end


def test_a_missing_openssl_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(identity.IdentityError, match="openssl is not installed"):
        identity.certificate([], tmp_path, "ramdisk")


def test_a_full_disk_is_told_as_openssl_tells_it(tmp_path, monkeypatch):
    tool = tmp_path / "bin/openssl"
    tool.parent.mkdir()
    tool.write_text(f"#!{shutil.which('sh')}\necho 'No space left on device' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    with pytest.raises(identity.IdentityError, match="openssl req failed: No space left on device"):
        identity.certificate([], tmp_path, "ramdisk")
