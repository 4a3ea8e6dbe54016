"""All ways at once: make the side files, serve them and the images, seed, and send by multicast."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread

from agent_router import plugin
from agent_router.image.sources.own_address import own_address_towards
from agent_router.image.sources.torrent.session import FIRST_PORT
from agent_router.linux import files
from agent_router.seed.scan import ScannedImage
from agent_router.seed.seeder import Seeder
from agent_router.seed.sender import Group, Sender
from agent_router.seed.side_files import bmap, checksums, info_hash, metalink, torrent, url_of
from agent_router.seed.tracker import Tracker
from agent_router.seed.web import ImageServer, Rate, ServedFile

MIB = 1 << 20
SUMS = "SHA256SUMS"
# A documentation address (RFC 5737): nothing is sent, it only selects the outgoing interface.
OUTSIDE = "http://192.0.2.1"


@dataclass(frozen=True)
class Options:
    """`rate_mib` a second over HTTP, and as much again to peers; 0 is no limit."""

    bind: str = "0.0.0.0"
    port: int = 8000
    advertise: str = ""
    peer_port: int = FIRST_PORT
    rate_mib: float = 0
    trackers: tuple[str, ...] = ()
    torrent: bool = True
    group: Group | None = None


def groups(group: Group | None, images: Sequence[ScannedImage]) -> dict[str, Group]:
    """A session has one file: each image gets its own pair of ports (udp-sender(1): data and control)."""
    if group is None:
        return {}
    pairs = enumerate(images)
    return {image.name: replace(group, portbase=group.portbase + 2 * number) for number, image in pairs}


def side_files(
    images: Sequence[ScannedImage], base_url: str, options: Options, trackers: Sequence[str]
) -> dict[str, bytes]:
    """All files that go with the images, by name."""
    sent = groups(options.group, images)
    found: dict[str, bytes] = {}
    for image in images:
        group = sent.get(image.name)
        if options.torrent:
            found[f"{image.name}.torrent"] = torrent(image, base_url, trackers)
        found[f"{image.name}.meta4"] = metalink(image, base_url, group.url if group else "", options.torrent)
        if image.name.endswith((".raw", ".img")) and image.data:
            found[f"{image.name}.bmap"] = bmap(image)
    found[SUMS] = checksums(images)
    return found


def trackers_of(base_url: str, options: Options) -> list[str]:
    """The server's own tracker, and the others."""
    return [url_of(base_url, "announce"), *options.trackers]


def base_url(options: Options, port: int) -> str:
    """The URL of this server for others."""
    if options.advertise:
        return options.advertise.rstrip("/")
    host = options.bind if options.bind not in ("0.0.0.0", "::") else own_address_towards([OUTSIDE]) or "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass
class Publication:
    """What is served; start() once, close() once."""

    images: Sequence[ScannedImage]
    options: Options
    say: Callable[[str], object]
    url: str = ""
    seeder: Seeder | None = None
    senders: list[Sender] = field(default_factory=list)
    _server: ImageServer | None = None

    def start(self) -> None:
        """Raises OSError for a port that is taken, plugin.Failed for a program that is missing."""
        options, tracker = self.options, Tracker()
        self._server = server = ImageServer(options.bind, options.port, Rate(options.rate_mib * MIB), tracker.announce)
        self.url = base_url(options, server.port)
        made = side_files(self.images, self.url, options, trackers_of(self.url, options))
        server.entries = {
            **{image.name: _entry(image) for image in self.images},
            **{name: _made(content, self.images[0]) for name, content in made.items()},
        }
        for image in self.images:
            tracker.add(info_hash(image))
        Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
        if options.torrent:
            self._seed(made)
        for image in self.images:
            if group := groups(options.group, self.images).get(image.name):
                self._send(image, group)

    def _seed(self, made: dict[str, bytes]) -> None:
        options = self.options
        listen = options.bind if options.bind not in ("0.0.0.0", "::") else ""
        try:
            self.seeder = Seeder(listen, options.peer_port, int(options.rate_mib * MIB))
        except plugin.Failed as error:
            self.say(f"peers get the images from the web server only: {error}")
            return
        for image in self.images:
            self.seeder.add(image, made[f"{image.name}.torrent"])

    def _send(self, image: ScannedImage, group: Group) -> None:
        for program, package in (("udp-sender", "udpcast"), ("setpriv", "util-linux")):
            if shutil.which(program) is None:
                message = f"{program} is missing; install {package}, or omit --multicast"
                raise plugin.Failed("tool_missing", message)
        sender = Sender(image.path, group, self.say)
        sender.start()
        self.senders.append(sender)

    def close(self) -> None:
        for sender in self.senders:
            sender.stop()
        if self.seeder is not None:
            self.seeder.close()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _entry(image: ScannedImage) -> ServedFile:
    return ServedFile(f'"{image.sha256[:32]}"', image.size, image.mtime_ns / 1e9, image)


def _made(content: bytes, image: ScannedImage) -> ServedFile:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return ServedFile(etag, len(content), image.mtime_ns / 1e9, content=content)


def write_side_files(directory: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        files.replace(directory / name, content, 0o644)
