"""agent-router seed: serve images to a fleet by HTTP, BitTorrent and multicast (docs/seeding.md)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from agent_router import plugin
from agent_router.seed import publish, side_files
from agent_router.seed.publish import Options, Publication
from agent_router.seed.scan import ScannedImage, scan
from agent_router.seed.sender import Group

REFUSED, FAILED = 2, 1
REPORT_S = 1.0


def main(paths: Sequence[str], options: Options, only_make: str | None) -> int:
    """Read the images, then serve until SIGTERM or Ctrl-C; returns the exit status."""
    over = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        images = read(paths, over)
    except _UnusableImage as error:
        _say(str(error))
        return REFUSED
    if over.is_set():
        return 0
    if only_make is not None:
        return make(images, options, Path(only_make))
    publication = Publication(images, options, _say)
    try:
        publication.start()
        announce(publication)
        watch(publication, over)
    except plugin.Failed as error:
        _say(error.message)
        return FAILED
    except OSError as error:
        _say(f"cannot listen on {options.bind} port {options.port}: {error.strerror or error}")
        return FAILED
    finally:
        publication.close()
    return 0


def read(paths: Sequence[str], over: Event) -> list[ScannedImage]:
    """Read every image once; returns early, with fewer, when told to stop."""
    images: list[ScannedImage] = []
    for path in map(Path, paths):
        if not path.is_file():
            raise _UnusableImage(f"{path} is not a regular file; name image files")
        if path.name in [image.name for image in images] or path.name in (publish.SUMS, "announce"):
            raise _UnusableImage(f"{path}: another file is served as {path.name}; rename one of them")
        try:
            images.append(scan(path, _Progress(path.name, over)))
        except _Interrupted:
            return images
        except OSError as error:
            raise _UnusableImage(f"{path} cannot be read: {error.strerror}") from None
        if images[-1].size == 0:
            raise _UnusableImage(f"{path} is empty")
    return images


def make(images: Sequence[ScannedImage], options: Options, directory: Path) -> int:
    """Write only the side files, for an existing web server."""
    if not options.advertise:
        _say("--only-make needs --advertise URL, the URL of the images in the torrents and Metalinks")
        return REFUSED
    files = publish.side_files(images, options.advertise, options, options.trackers)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        publish.write_side_files(directory, files)
    except OSError as error:
        _say(f"{error.filename or directory}: {error.strerror}")
        return FAILED
    for name in files:
        print(directory / name)
    return 0


def announce(publication: Publication) -> None:
    """Print what to put into a request, and that the images are being served."""
    options, url = publication.options, publication.url
    sent = publish.groups(options.group, publication.images)
    for image in publication.images:
        print(f"{image.name}  {image.size} bytes  sha256:{image.sha256}")
        print(f"  {side_files.url_of(url, image.name)}.meta4")
        print(f"  {side_files.url_of(url, image.name)}")
        if options.torrent:
            print(f"  {side_files.url_of(url, image.name)}.torrent")
            print(f"  {side_files.magnet(image, url, publish.trackers_of(url, options))}")
        if image.name in sent:
            print(f"  {sent[image.name].url}")
    ways = ["HTTP"]
    if publication.seeder is not None:
        ways.append(f"BitTorrent (port {publication.seeder.port})")
    if sent:
        ways.append("multicast")
    print(f"agent-router seed: ready at {url}/ by {', '.join(ways)}", flush=True)


def watch(publication: Publication, over: Event) -> None:
    """Until stopped, report what goes wrong; on a terminal also how much was uploaded."""
    told: set[str] = set()
    while not over.wait(REPORT_S):
        for image in publication.images:
            if not image.unchanged() and image.name not in told:
                told.add(image.name)
                _say(f"{image.path} changed after it was read; it is no longer served, restart to serve it")
        if publication.seeder is not None:
            for sentence in publication.seeder.poll():
                _say(sentence)
            if sys.stderr.isatty():
                given, peers = publication.seeder.given()
                print(f"\r{given / (1 << 20):.0f} MiB to {peers} peers ", end="", file=sys.stderr, flush=True)


class _UnusableImage(Exception):
    """The image cannot be served; str() says why."""


class _Interrupted(Exception):
    """Told to stop while reading an image."""


class _Progress:
    def __init__(self, name: str, over: Event) -> None:
        self._name, self._over = name, over
        self._last = time.monotonic()

    def __call__(self, done: int, size: int) -> None:
        if self._over.is_set():
            raise _Interrupted
        if sys.stderr.isatty() and (done == size or time.monotonic() - self._last > REPORT_S):
            self._last = time.monotonic()
            end = "\n" if done == size else ""
            print(f"\rreading {self._name}: {100 * done // max(size, 1)} %", end=end, file=sys.stderr, flush=True)


def _say(sentence: str) -> None:
    print(f"agent-router: {sentence}", file=sys.stderr, flush=True)


def default_directory(paths: Sequence[str]) -> str:
    """Beside the first image."""
    return os.path.dirname(os.path.abspath(paths[0]))


def options(
    bind: str,
    port: int,
    advertise: str,
    peer_port: int,
    trackers: tuple[str, ...],
    no_torrent: bool,
    rate: float,
    multicast: bool,
    group: str,
    portbase: int,
    interface: str,
    receivers: int,
    wait_s: int,
    multicast_rate: int,
    drop_s: int,
) -> Options:
    """From the command line."""
    sent = Group(group, portbase, interface, receivers, wait_s, multicast_rate, drop_s) if multicast else None
    return Options(bind, port, advertise, peer_port, rate, trackers, not no_torrent, sent)
