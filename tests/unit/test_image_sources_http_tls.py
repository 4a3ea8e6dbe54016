"""Certificates of servers and clients, given as PEM text or as paths."""

import os
import shutil
import ssl
import subprocess

import pytest

from agent_router.image.sources import Spec
from agent_router.image.sources.http import connection
from agent_router.image.sources.http.source import HttpSource
from agent_router.plugin import Failed, InvalidRequest
from tests.support.certificates import Certificates
from tests.support.image_server import read_all
from tests.support.proxy import Proxy
from tests.support.waiting import HANG_S

IMAGE = os.urandom(500_001)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which makes the certificates")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.sign("server")
    made.sign("wrong-name", "DNS:other.example")
    made.sign("expired", days=-1)
    made.sign("client")
    return made


@pytest.fixture
def secure(serve, certificates):
    def start(name="server", body=IMAGE, **more):
        return serve(body, context=certificates.server_context(name, **more))

    return start


def fetched(server, **more) -> bytes:
    return read_all(HttpSource(Spec(server.url, **{"patience_s": HANG_S, **more})))


def failure(server, **more) -> Failed:
    with pytest.raises(Failed) as failed:
        fetched(server, **{"patience_s": 2, **more})
    return failed.value


@pytest.mark.parametrize("as_text", [True, False])
def test_the_ca_of_the_command(secure, certificates, as_text):
    assert fetched(secure(), ca=certificates.text("ca.pem") if as_text else certificates.path("ca.pem")) == IMAGE


def test_a_ca_of_the_command_is_the_only_one(certificates):
    assert len(connection.tls_context(Spec("https://a", ca=certificates.path("ca.pem"))).get_ca_certs()) == 1
    assert len(connection.tls_context(Spec("https://a")).get_ca_certs()) != 1


def test_nothing_older_than_tls_1_2(certificates):
    made = connection.tls_context(Spec("https://a"))
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert made.verify_mode == ssl.CERT_REQUIRED
    assert made.check_hostname


@pytest.mark.parametrize(("name", "ca", "sentence"), [
    ("server", False, "give the certificate of its CA as ca"),
    ("wrong-name", True, "IP address mismatch"),
    ("expired", True, "the clock of this machine says 20"),
])  # fmt: skip
def test_a_certificate_that_is_not_accepted(secure, certificates, name, ca, sentence):
    server = secure(name)
    error = failure(server, **({"ca": certificates.path("ca.pem")} if ca else {}))
    assert error.code == "unreachable"
    assert sentence in error.message
    assert server.connections == 1, "another try will not help"


@pytest.mark.parametrize("how", ["paths", "text", "one text", "certificate as text, key as path"])
def test_a_client_certificate(secure, certificates, how):
    certificate, key = certificates.path("client.pem"), certificates.path("client.key")
    if "text" in how:
        certificate = certificates.text("client.pem")
        key = key if "path" in how else certificates.text("client.key")
    if how == "one text":
        certificate, key = certificate + key, None
    server = secure(clients=True)
    before = len(os.listdir("/proc/self/fd"))
    assert fetched(server, ca=certificates.path("ca.pem"), certificate=certificate, key=key) == IMAGE
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "a descriptor of a key was left open"


def test_without_the_client_certificate_that_is_asked_for(secure, certificates):
    error = failure(secure(clients=True), ca=certificates.path("ca.pem"), patience_s=1)
    assert error.code == "unreachable"


def test_certificates_that_cannot_be_used(certificates, tmp_path):
    subprocess.run(["openssl", "pkey", "-aes128", "-passout", "pass:s3cret", "-in", certificates.path("client.key"),
                    "-out", tmp_path / "locked.key"], check=True, capture_output=True)  # fmt: skip
    pair = {"certificate": certificates.text("client.pem")}
    for wrong, sentence in (
        ({"ca": "/no/such.pem"}, "/no/such.pem is not certificates that can be used: No such file"),
        ({"ca": "-----BEGIN CERTIFICATE-----\nrubbish"}, "ca: the PEM text is not"),
        ({**pair, "key": str(tmp_path / "locked.key")}, "certificate and key: the PEM text is not"),
        ({**pair, "key": certificates.text("server.key")}, "certificate and key: the PEM text is not"),
        ({"certificate": "/no/such.pem"}, "No such file"),
    ):
        with pytest.raises(InvalidRequest) as failed:
            connection.tls_context(Spec("https://a", **wrong))
        assert failed.value.code == "bad_certificate"
        assert sentence in failed.value.message


def test_a_broken_connection_is_resumed(secure, certificates):
    server = secure()
    server.cut_after = 200_000
    assert fetched(server, ca=certificates.path("ca.pem")) == IMAGE
    assert len(server.requests) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_through_a_tunnel(serve, certificates, host):
    certificates.sign("both", "IP:127.0.0.1,IP:::1")
    server, proxy = serve(IMAGE, host=host, context=certificates.server_context("both")), Proxy("Basic YTpi")
    try:
        spec = {"ca": certificates.path("ca.pem"), "headers": {"Authorization": "s3cret"}}
        assert fetched(server, proxies={"https": f"http://a:b@{proxy.place}"}, **spec) == IMAGE
        assert proxy.asked == [f"CONNECT {server.host}:{server.server_address[1]}"]
        assert "Authorization" not in proxy.headers[0]
        assert "Proxy-Authorization" not in server.requests[0]
        error = failure(server, proxies={"https": f"http://a:s3cret@{proxy.place}"}, **spec)
        assert "the proxy answered HTTP 407" in error.message
        assert "s3cret" not in error.message
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_from_https_to_http_only_if_a_digest_is_the_judge(serve, secure, certificates):
    plain, server = serve(IMAGE), secure(body=b"")
    server.redirect = plain.url
    spec = {"ca": certificates.path("ca.pem"), "headers": {"Authorization": "s3cret"}}
    assert "from https to http" in failure(server, **spec).message
    assert plain.requests == []
    assert fetched(server, digest_known=True, **spec) == IMAGE
    assert "Authorization" not in plain.requests[0]
