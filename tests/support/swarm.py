"""Swarms on loopback: a torrent of some bytes, real seeders by libtorrent, and a tracker of fifteen lines."""

import hashlib
import os
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import libtorrent as lt

from agent_router.image.sources.torrent.session import SessionLimits, make_session
from agent_router.seed.web import ImageServer, Rate, ServedFile
from tests.support.disk_content import content, noise
from tests.support.waiting import HANG_S, wait_for

MIB = 1 << 20
PIECE = 256 << 10
FLAGS = {"v1": lt.create_torrent.v1_only, "hybrid": 0, "v2": lt.create_torrent.v2_only}


def with_holes() -> bytes:
    """An image of a size that is no multiple of anything."""
    return noise(2 * MIB) + bytes(3 * MIB) + os.urandom(3 * MIB + 12800)


def write(call: Any, disk: str, *sources: str, **more: Any) -> Any:
    return call("image.write", device=disk, sources=list(sources), patience_s=more.pop("patience_s", HANG_S), **more)


def assert_written(disk: str, image: bytes) -> None:
    data = content(disk)
    assert data[: len(image)] == image
    assert data[-MIB:].count(0) == MIB or len(image) > len(data) - MIB


def torrent_of(
    path: Path, *, kind: str = "v1", trackers: tuple[str, ...] = (), web_seeds: tuple[str, ...] = (), piece: int = PIECE
) -> bytes:
    """The torrent file of one file, made by libtorrent."""
    made = lt.create_torrent(lt.list_files(str(path)), piece, flags=FLAGS[kind])
    for url in trackers:
        made.add_tracker(url)
    for url in web_seeds:
        made.add_url_seed(url)
    lt.set_piece_hashes(made, str(path.parent))
    return bytes(lt.bencode(made.generate()))


class Seeder:
    """Gives `path` to peers."""

    def __init__(
        self,
        torrent: bytes,
        path: Path,
        upload_bps: int = 0,
        *,
        seeding: bool = True,
        listen: str = "127.0.0.1",
        one_each: bool = False,
    ) -> None:
        """With `one_each`, one connection to an address at a time, as clients on desks have it."""
        self._session = make_session(lt, SessionLimits(listen, upload_bps=upload_bps))
        if one_each:
            self._session.apply_settings({"allow_multiple_connections_per_ip": False})
        params = lt.load_torrent_buffer(torrent)
        params.save_path = str(path.parent)
        params.renamed_files = {0: path.name}
        params.url_seeds = []
        params.flags |= lt.torrent_flags.override_web_seeds
        if seeding:
            params.flags |= lt.torrent_flags.seed_mode
        params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        self._handle = self._session.add_torrent(params)
        self.port = int(self._session.listen_port())

    @property
    def uploaded(self) -> int:
        return int(self._handle.status().total_payload_upload)

    def magnet(self, **more: str) -> str:
        link = lt.make_magnet_uri(self._handle).partition("&tr=")[0]
        query = urllib.parse.urlencode({"x.pe": f"127.0.0.1:{self.port}", **more})
        return f"{link}&{query}"

    def connect(self, port: int) -> None:
        """To a peer, before the tracker tells either of the other."""
        self._handle.connect_peer(("127.0.0.1", port))

    def kill(self) -> None:
        """Without a word to the tracker."""
        if self._session is not None:
            self._session.apply_settings({"stop_tracker_timeout": 0})
        self._session = self._handle = None


class Leecher(Seeder):
    """A node that has nothing yet."""

    def __init__(self, swarm: "Swarm", directory: Path) -> None:
        self.path = directory / "fetched"
        super().__init__(swarm.torrent, self.path, seeding=False)

    def complete(self) -> bool:
        return bool(self._handle.status().is_seeding)


def assert_given_on(swarm: "Swarm", directory: Path) -> None:
    """Another node gets all of it from those that have told the tracker that they are there."""
    swarm.tracker.peers = [("127.0.0.1", int(asked["port"])) for asked in swarm.tracker.asked]
    other = Leecher(swarm, directory)
    wait_for(other.complete, "another node got all")
    assert other.path.read_bytes() == swarm.body


class Tracker(ThreadingHTTPServer):
    """Names `peers`, as (address, port), to everybody but themselves, and keeps who asked in `asked`.

    A peer that is told of itself bans its own address, which all have here: one that takes one connection from an
    address then refuses everybody.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Announce)
        self.peers: list[tuple[str, int]] = []
        self.asked: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # who asked may be gone

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/announce"


class _Announce(BaseHTTPRequestHandler):
    server: Tracker

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, encoding="latin-1"))
        self.server.asked.append(query)
        asking = (self.client_address[0], int(query["port"]))
        others = [peer for peer in self.server.peers if peer != asking]
        peers = [{b"ip": address.encode(), b"port": port} for address, port in others]
        body = lt.bencode({b"interval": 5, b"min interval": 1, b"peers": peers})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Swarm:
    """An image of `body`, its torrent, a web server that has both, a tracker, and seeders as they are asked for."""

    def __init__(
        self,
        directory: Path,
        body: bytes,
        *,
        kind: str = "v1",
        web_seed: bool = False,
        tracked: bool = True,
        piece: int = PIECE,
    ) -> None:
        self.body, self.digest = body, f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.path = directory / "disk.raw"
        self.path.write_bytes(body)
        self.tracker = Tracker()
        self.web = ImageServer("127.0.0.1", 0, Rate(0), lambda query, address: b"")
        threading.Thread(target=self.web.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.web.port}/disk.raw"
        self.torrent = torrent_of(
            self.path, kind=kind, piece=piece, trackers=(self.tracker.url,) * tracked, web_seeds=(self.url,) * web_seed
        )
        self.web.entries["disk.raw.torrent"] = ServedFile('"torrent"', len(self.torrent), 0.0, content=self.torrent)
        if web_seed:
            self.serve_image()
        self.torrent_url = f"{self.url}.torrent"
        self.seeders: list[Seeder] = []

    def serve_image(self, body: bytes | None = None) -> None:
        content = self.body if body is None else body
        self.web.entries["disk.raw"] = ServedFile('"image"', len(content), 0.0, content=content)

    def seeder(self, upload_bps: int = 0, *, first: int = 0, **more: bool) -> Seeder:
        """With `first`, it has only so many bytes of the image: who fetches gets them, and then waits for more."""
        path = self.path
        if first:
            path = path.with_name("first")
            path.write_bytes(self.body[:first])
            more["seeding"] = False
        made = Seeder(self.torrent, path, upload_bps, **more)
        self.seeders.append(made)
        self.tracker.peers.append(("127.0.0.1", made.port))
        return made

    def close(self) -> None:
        for seeder in self.seeders:
            seeder.kill()
        for server in (self.web, self.tracker):
            server.shutdown()
            server.server_close()
