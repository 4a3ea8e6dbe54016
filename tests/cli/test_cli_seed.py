"""agent-router seed: the real command on loopback, and other people's clients against it."""

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.waiting import HANG_S, wait_for

MIB = 1 << 20


def senders(image):
    """The processes of udp-sender that send this image."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0] == b"udp-sender" and str(image).encode() in words:
                found.append(int(path.parent.name))
    return found


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture
def image(tmp_path):
    """Data, a hole, data; the length is no multiple of a block."""
    path = tmp_path / "my disk.img"
    with path.open("wb") as file:
        file.write(os.urandom(MIB))
        file.seek(3 * MIB)
        file.write(os.urandom(MIB + 777))
    return path


class Seed:
    """The running command: `lines` of its output up to the ready line, `url` of its server."""

    def __init__(self, cli, *arguments):
        self.process = cli.start("seed", "--bind", "127.0.0.1", "--port", "0", *map(str, arguments))
        self.lines = []
        for line in iter(self.process.stdout.readline, b""):
            self.lines.append(line.decode().strip())
            if found := re.search(r"ready at (\S+)/ by (.*)", self.lines[-1]):
                self.url, self.ways = found.groups()
                return
        raise AssertionError(self.process.stderr.read().decode())

    def get(self, name, **headers):
        request = urllib.request.Request(f"{self.url}/{name}", headers=headers)
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=HANG_S)

    def ask(self, method, name, **headers):
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=HANG_S)
        connection.request(method, f"/{name}", headers={key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def stop(self):
        self.process.terminate()
        return self.process.wait(HANG_S)


@pytest.fixture
def seed(cli):
    made = []

    def start(*arguments):
        made.append(Seed(cli, *arguments))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.stop()


def test_it_serves_the_image_and_what_tells_of_it(seed, image):
    one, digest = seed(image), hashlib.sha256(image.read_bytes()).hexdigest()
    assert one.lines[0] == f"my disk.img  {image.stat().st_size} bytes  sha256:{digest}"
    assert one.get("my%20disk.img").read() == image.read_bytes()
    assert one.get("SHA256SUMS").read().decode() == f"{digest}  my disk.img\n"
    metalink = one.get("my%20disk.img.meta4").read().decode()
    assert f'<hash type="sha-256">{digest}</hash>' in metalink
    assert f"{one.url}/my%20disk.img.torrent</metaurl>" in metalink
    assert f'<url priority="3">{one.url}/my%20disk.img</url>' in metalink
    for line in one.lines[1:-1]:
        if line.startswith("http"):
            assert one.get(line.removeprefix(f"{one.url}/")).status == 200
    assert one.stop() == 0


def test_it_serves_nothing_else(seed, image):
    (image.parent / "secret").write_text("x")
    one = seed(image)
    for path in ("secret", "../secret", "%2e%2e/secret", "", "my%20disk.img/", "/etc/passwd", quote(str(image))):
        assert one.ask("GET", path)[0] == 404, path


def test_ranges(seed, image):
    one, whole = seed(image), image.read_bytes()
    status, headers, body = one.ask("HEAD", "my%20disk.img")
    assert (status, headers["Content-Length"], headers["Accept-Ranges"], body) == (200, str(len(whole)), "bytes", b"")
    etag = headers["ETag"]
    for asked, start, end in (
        ("5-9", 5, 10),
        (f"{MIB}-", MIB, len(whole)),
        ("-10", len(whole) - 10, len(whole)),
        ("0-99999999", 0, len(whole)),
    ):
        status, headers, body = one.ask("GET", "my%20disk.img", Range=f"bytes={asked}", If_Range=etag)
        assert (status, headers["Content-Range"]) == (206, f"bytes {start}-{end - 1}/{len(whole)}")
        assert body == whole[start:end]
    assert one.ask("GET", "my%20disk.img", Range="bytes=5-9", If_Range='"other"')[0::2] == (200, whole)
    assert one.ask("GET", "my%20disk.img", Range="bytes=5-9,20-30")[0] == 200
    status, headers, _ = one.ask("GET", "my%20disk.img", Range=f"bytes={len(whole)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    assert one.ask("GET", "my%20disk.img", If_None_Match=etag)[0] == 304


def test_a_changed_image_is_not_given_away(seed, image):
    one = seed(image)
    image.write_bytes(os.urandom(4 * MIB))
    status, _, body = one.ask("GET", "my%20disk.img")
    assert (status, b"start agent-router seed again" in body) == (503, True)


def test_a_rate_limit(seed, image):
    one = seed(image, "--rate", "2")
    began = time.monotonic()
    assert one.get("my%20disk.img").read() == image.read_bytes()
    assert time.monotonic() - began > 1.3, "4 MiB at 2 MiB/s"


@needs("aria2c")
def test_aria2_gets_it_from_peers_alone(seed, image, tmp_path):
    one, directory = seed(image), tmp_path / "fetched"
    directory.mkdir()
    content = one.get("my%20disk.img.torrent").read()
    bare = re.sub(rb"8:url-listl\d+:.*ee$", b"e", content)
    assert bare != content
    (directory / "t.torrent").write_bytes(bare)
    done = subprocess.run(
        ["aria2c", "--no-conf", "--dir", directory, "--enable-dht=false", "--seed-time=0", "--interface=127.0.0.1",
         "--listen-port=7100-7199", "--bt-tracker-connect-timeout=5", "--quiet", directory / "t.torrent"],
        capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (directory / "my disk.img").read_bytes() == image.read_bytes()


@needs("transmission-cli")
def test_transmission_gets_it(seed, image, tmp_path):
    one, directory = seed(image), tmp_path / "fetched"
    directory.mkdir()
    (directory / "t.torrent").write_bytes(one.get("my%20disk.img.torrent").read())
    process = subprocess.Popen(
        ["transmission-cli", "--download-dir", directory, "--config-dir", directory, "--no-portmap", "--port", "7200",
         directory / "t.torrent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        fetched = directory / "my disk.img"
        wait_for(lambda: fetched.exists() and fetched.read_bytes() == image.read_bytes(), "the image")
    finally:
        process.terminate()
        process.wait(HANG_S)


@needs("bmaptool")
def test_bmaptool_takes_the_block_map(seed, image, tmp_path):
    one, directory = seed(image), tmp_path / "fetched"
    directory.mkdir()
    (directory / "map").write_bytes(one.get("my%20disk.img.bmap").read())
    shutil.copy(image, directory / "in")
    argv = ["bmaptool", "copy", "--bmap", directory / "map", directory / "in", directory / "out"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (directory / "out").read_bytes() == image.read_bytes()
    data = bytearray((directory / "in").read_bytes())
    data[5] ^= 1
    (directory / "in").write_bytes(data)
    assert subprocess.run(argv, capture_output=True, check=False).returncode != 0, "its checksums are looked at"


@needs("udp-sender")
def test_multicast_sessions_follow_each_other(seed, image, tmp_path):
    one = seed(image, "--multicast", "--interface", "lo", "--portbase", "9120", "--wait", "1", "--drop-after", "5",
               "--no-torrent")  # fmt: skip
    assert "udpcast://:9120" in one.lines
    assert one.ways == "HTTP, multicast"
    assert '<url priority="1">udpcast://:9120</url>' in one.get("my%20disk.img.meta4").read().decode()
    for number in range(2):
        out = tmp_path / f"out{number}"
        subprocess.run(
            ["udp-receiver", "--interface", "lo", "--portbase", "9120", "--nokbd", "--no-progress",
             "--start-timeout", "120", "--receive-timeout", "120", "--file", out],
            capture_output=True, timeout=HANG_S, check=True,
        )  # fmt: skip
        assert out.read_bytes() == image.read_bytes()
    third = wait_for(lambda: senders(image), "the third session")
    assert b"--retries-until-drop\x0014\0" in Path(f"/proc/{third[0]}/cmdline").read_bytes()
    assert one.stop() == 0
    wait_for(lambda: not senders(image), "the end of udp-sender")


@needs("udp-sender")
def test_a_seed_that_is_killed_takes_its_sender_along(seed, image):
    one = seed(image, "--multicast", "--interface", "lo", "--portbase", "9130", "--no-torrent")
    try:
        wait_for(lambda: senders(image), "the session")
        one.process.kill()
        one.process.wait(HANG_S)
        wait_for(lambda: not senders(image), "the end of udp-sender")
    finally:
        for pid in senders(image):
            os.kill(pid, signal.SIGKILL)


def test_a_program_that_multicast_needs_is_named(cli, image, tmp_path):
    arguments = ("seed", str(image), "--bind", "127.0.0.1", "--port", "0", "--multicast", "--no-torrent")
    for program, package in (("udp-sender", "udpcast"), ("setpriv", "util-linux")):
        done = cli(*arguments, PATH=str(tmp_path))
        assert done.status == 1
        assert f"{program} is missing; install {package}, or omit --multicast" in done.err
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)


def test_only_make(cli, image, tmp_path):
    out = tmp_path / "made"
    done = cli("seed", str(image), "--only-make", "-o", str(out), "--advertise", "https://images.example/x/")
    assert (done.status, done.err) == (0, "")
    names = {"SHA256SUMS", *(f"my disk.img.{kind}" for kind in ("torrent", "meta4", "bmap"))}
    assert {path.name for path in out.iterdir()} == names
    assert done.out.split("\n")[:-1] == [str(out / name) for name in sorted(names, key=done.out.index)]
    torrent = (out / "my disk.img.torrent").read_bytes()
    assert b"https://images.example/x/my%20disk.img" in torrent
    assert b"announce" not in torrent, "there is no tracker at somebody else's server"
    checked = subprocess.run(["sha256sum", "--check", out / "SHA256SUMS"], cwd=image.parent, check=False)
    assert checked.returncode == 0


def test_refusals(cli, image, tmp_path):
    (tmp_path / "empty.img").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / image.name).write_bytes(b"x")
    for arguments, said in (
        ([str(tmp_path)], "not a regular file"),
        ([str(tmp_path / "empty.img")], "is empty"),
        ([str(image), str(tmp_path / "b" / image.name)], "rename one"),
        ([str(image), "--only-make"], "--advertise URL"),
    ):
        done = cli("seed", "--bind", "127.0.0.1", *arguments)
        assert done.status == 2
        assert said in done.err, arguments
    done = cli("seed", str(image), "--bind", "192.0.2.1", "--port", "8000")
    assert (done.status, "cannot listen on 192.0.2.1 port 8000" in done.err) == (1, True)
