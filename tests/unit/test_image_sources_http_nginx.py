"""Against a real web server: ranges, validators, passwords, certificates, a proxy in between, a restart."""

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest

from agent_router.image.protocols import InOrderOnly
from agent_router.image.sources import Spec
from agent_router.image.sources.http.source import HttpSource
from agent_router.plugin import Failed
from tests.support.certificates import Certificates
from tests.support.image_server import read_all
from tests.support.waiting import HANG_S, free_port, wait_for

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
IMAGE = os.urandom(3_000_001)

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="needs nginx"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which makes the certificates"),
]

CONFIG = """
{user}
worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; default_type application/octet-stream; gzip on; gzip_types *; gzip_min_length 1;
  client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t;
  scgi_temp_path {dir}/t; root {dir}/www;
  server {{
    listen 127.0.0.1:{port};
    location /norange/ {{ alias {dir}/www/; max_ranges 0; }}
    location /noetag/ {{ alias {dir}/www/; etag off; }}
    location /slow/ {{ alias {dir}/www/; limit_rate 1m; }}
    location /secret/ {{ alias {dir}/www/; auth_basic "x"; auth_basic_user_file {dir}/users; }}
    location /behind/ {{ proxy_pass http://127.0.0.1:{port}/; }}
    location /moved/ {{ return 302 https://127.0.0.1:{tls_port}/disk.raw; }}
  }}
  server {{
    listen 127.0.0.1:{tls_port} ssl; ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key;
    ssl_client_certificate {dir}/ca.pem; ssl_verify_client on;
  }}
}}
"""


class Nginx:
    def __init__(self, directory) -> None:
        self.directory, self.port, self.tls_port = directory, free_port(), free_port()
        self.certificates = Certificates(directory)
        self.certificates.sign("server")
        self.certificates.sign("client")
        (directory / "www").mkdir()
        self.put(IMAGE, age_s=3600)
        hashed = subprocess.run(["openssl", "passwd", "-apr1", "pass word"], capture_output=True, text=True, check=True)
        (directory / "users").write_text(f"me:{hashed.stdout}")
        user = "user root;" if os.geteuid() == 0 else ""  # its own user cannot look into the directories of tests
        config = CONFIG.format(user=user, dir=directory, port=self.port, tls_port=self.tls_port)
        (directory / "nginx.conf").write_text(config)
        self.start()

    def put(self, image: bytes, age_s: int) -> None:
        path = self.directory / "www/disk.raw"
        path.write_bytes(image)
        os.utime(path, (time.time() - age_s,) * 2)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [NGINX, "-p", self.directory, "-c", self.directory / "nginx.conf", "-e", self.directory / "error.log"]
        )

        def listens() -> bool:
            assert self.process.poll() is None, (self.directory / "error.log").read_text()
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.tls_port), HANG_S).close()
                return True
            return False

        wait_for(listens, "nginx")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def url(self, place: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{place}disk.raw"


@pytest.fixture
def nginx(tmp_path):
    made = Nginx(tmp_path)
    yield made
    made.stop()


def source(url: str, **more) -> HttpSource:
    return HttpSource(Spec(url, **{"patience_s": HANG_S, **more}))


@pytest.mark.parametrize("place", ["", "norange/", "noetag/", "behind/"])
def test_reads_it_all(nginx, place):
    assert read_all(source(nginx.url(place))) == IMAGE


@pytest.mark.parametrize("place", ["", "noetag/", "behind/"])
def test_parts(nginx, place):
    made = source(nginx.url(place))
    made.open()
    assert [made.read_at(at, 9) for at in (0, 2_999_999, 77)] == [IMAGE[:9], IMAGE[2_999_999:], IMAGE[77:86]]
    assert read_all(made) == IMAGE


def test_no_parts(nginx):
    made = source(nginx.url("norange/"))
    made.open()
    with pytest.raises(InOrderOnly):
        made.read_at(0, 9)
    made.close()


def restarted(nginx, made, between=lambda: None) -> bytes:
    """What is read over a restart of the server in the middle."""
    made.open()
    buffer = memoryview(bytearray(1 << 20))
    found = bytes(buffer[: made.readinto(buffer)])
    nginx.stop()
    between()
    nginx.start()
    while count := made.readinto(buffer):
        found += buffer[:count]
    return found


@pytest.mark.parametrize("place", ["slow/", "slow-noetag"])
def test_a_restart_of_the_server(nginx, place):
    if place == "slow-noetag":
        config = nginx.directory / "nginx.conf"
        config.write_text(config.read_text().replace("limit_rate", "etag off; limit_rate"))
        nginx.stop()
        nginx.start()
    made = source(nginx.url("slow/"))
    assert restarted(nginx, made) == IMAGE
    assert made.resumed == 1


def test_another_image_after_the_restart(nginx):
    made = source(nginx.url("slow/"))
    with pytest.raises(Failed, match="was replaced while it was read"):
        restarted(nginx, made, lambda: nginx.put(IMAGE[::-1], age_s=1800))
    made.close()


def test_a_password(nginx):
    token = base64.b64encode(b"me:pass word").decode()
    assert read_all(source(nginx.url("secret/"), headers={"Authorization": f"Basic {token}"})) == IMAGE
    with pytest.raises(Failed, match="HTTP 401 Unauthorized; user and password"):
        read_all(source(nginx.url("secret/")))


def test_a_redirect_to_where_a_client_certificate_is_needed(nginx):
    certificates = nginx.certificates
    pair = {"certificate": certificates.text("client.pem"), "key": certificates.text("client.key")}
    made = source(nginx.url("moved/"), ca=certificates.text("ca.pem"), **pair)
    made.open()
    assert made.read_at(5, 7) == IMAGE[5:12]
    assert read_all(made) == IMAGE
    with pytest.raises(Failed, match="HTTP 400"):
        read_all(source(nginx.url("moved/"), ca=certificates.text("ca.pem")))
    with pytest.raises(Failed, match="give the certificate of its CA as ca"):
        read_all(source(nginx.url("moved/"), **pair))
