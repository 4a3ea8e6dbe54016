"""An image by BitTorrent: from a torrent file, by http or path, or from a magnet link."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from agent_router import plugin
from agent_router.image.protocols import DiskDestination, Hash, ScratchSpace
from agent_router.image.sources.fetch import fetch
from agent_router.image.sources.own_address import own_address_towards
from agent_router.image.sources.spec import Spec
from agent_router.image.sources.torrent import magnet, metainfo, web_seed
from agent_router.image.sources.torrent.download import Download
from agent_router.image.sources.torrent.metainfo import Metainfo
from agent_router.image.sources.torrent.session import SessionLimits, load_libtorrent
from agent_router.image.sources.torrent.swarm import Swarm
from agent_router.image.sources.torrent.to_disk import write_to_disk

RATIO = 3.0  # whoever gave three images away has done its share


class TorrentSource:
    """A Source that writes raw images to the disk by itself; all else needs scratch space, which is given to others
    while it is unpacked: first() and keep() come before readinto() and read_at().

    extras of the spec: `linger_s`, `linger_ratio` (images given away), `upload_bps`, `listen` (an address of this
    machine; else the one that faces the torrent's servers, else all).
    """

    cannot_wait = False

    def __init__(self, spec: Spec) -> None:
        self.name = spec.name
        self.size: int | None = None
        self.offset = 0
        self.resumed = 0
        self._spec = spec
        self._lt: Any = None
        self._meta: Metainfo | None = None
        self._download: Download | None = None
        self._scratch: ScratchSpace | None = None
        self._stats: dict[str, Any] = {}

    def open(self) -> None:
        self._lt = load_libtorrent()
        url = self._spec.url
        if url.startswith("magnet:"):
            limits = self._limits(magnet.servers(url))
            self._meta = magnet.resolve(
                self._lt, url, self.name, self._fetch, limits, self._spec.patience_s, self._spec.work
            )
        else:
            self._meta = metainfo.parse(self._lt, self._fetch(url), self.name)
        self.size = self._meta.size

    def write_to(self, disk: DiskDestination, digest: Hash) -> None:
        """Nothing writes any more when this has raised."""
        download, limits = self._begin()
        try:
            with self._explained():
                write_to_disk(self._lt, download, disk, digest, limits, self._spec.work, self.name)
        except BaseException:
            self.close()
            raise
        self.offset = download.meta.size

    def first(self, length: int) -> bytes:
        """The first bytes, fetched before anything is touched."""
        download, limits = self._begin()
        # Into a scratch file in memory, so that a file of the wrong kind is refused before anything is touched.
        download.add(Swarm(self._lt, download.meta, None, {0}, limits, self._spec.work))
        found = bytearray(min(length, download.meta.span(0)[1]))
        with self._explained():
            download.read(memoryview(found), 0, hurry=True)
        return bytes(found)

    def keep(self, scratch: ScratchSpace) -> None:
        """From here on all of it is fetched into `scratch`, which is closed with this."""
        self._scratch = scratch
        meta = self._opened()
        assert self._download is not None, "first() comes first"
        rest = set(range(1, meta.pieces))
        if rest:
            self._download.add(Swarm(self._lt, meta, scratch.path, rest, self._limits_of(meta), self._spec.work))
        self._stats["bytes_kept"] = meta.size

    def readinto(self, buffer: memoryview) -> int:
        meta = self._opened()
        count = min(len(buffer), meta.size - self.offset)
        self._read(buffer[:count], self.offset)
        self.offset += count
        return count

    def read_at(self, offset: int, length: int) -> bytes:
        meta = self._opened()
        found = bytearray(max(min(length, meta.size - offset), 0))
        self._read(memoryview(found), offset, hurry=True)
        return bytes(found)

    def report(self, done: int) -> None:
        """Progress of unpacking, once all is fetched; until then the download reports."""
        download = self._download
        if download is not None and download.done >= download.meta.size:
            size = download.meta.size
            plugin.progress(size - 1, size, "bytes", f"all fetched, {100 * done // size} % of it unpacked")

    def _read(self, view: memoryview, offset: int, *, hurry: bool = False) -> None:
        if self._download is None:
            raise plugin.Failed("stopped", f"{self.name}: given up after {self.offset} bytes")
        with self._explained():
            self._download.read(view, offset, hurry=hurry)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """If nothing comes any more, what the web seeds answer is part of the message."""
        try:
            yield
        except plugin.Failed as error:
            if error.code in ("no_source", "connection_lost"):
                found = web_seed.troubles(self._opened().web_seeds, self._spec)
                error.message = "; ".join([error.message, *found])
                error.args = (error.message,)
            raise

    def linger(self) -> None:
        """After the verdict: give to other peers for `linger_s` seconds."""
        extras = self._spec.extras
        if self._download is not None and extras.get("linger_s"):
            self._download.linger(extras["linger_s"], extras.get("linger_ratio", RATIO))

    def stats(self) -> dict[str, Any]:
        """The same dict each time, brought up to date by close(): the result tells what was given to others."""
        if self._download is not None:
            with contextlib.suppress(plugin.Failed):  # a disk that failed is known already
                self._stats.update(self._download.stats())
        return self._stats

    def close(self) -> None:
        self.stats()
        download, self._download = self._download, None
        if download is not None:
            download.close()
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            scratch.close()

    def _opened(self) -> Metainfo:
        assert self._meta is not None, "open() comes first"
        return self._meta

    def _begin(self) -> tuple[Download, SessionLimits]:
        meta = self._opened()
        self._download = Download(meta, self.name, self._spec.patience_s)
        return self._download, self._limits_of(meta)

    def _limits_of(self, meta: Metainfo) -> SessionLimits:
        return self._limits([self._spec.url, *meta.trackers, *meta.web_seeds])

    def _limits(self, servers: list[str]) -> SessionLimits:
        extras = self._spec.extras
        listen = extras.get("listen") or own_address_towards(servers)
        return SessionLimits(listen=listen, upload_bps=extras.get("upload_bps", 0))

    def _fetch(self, url: str) -> bytes:
        """A torrent file as a whole. Credentials for one URL are not sent to another."""
        spec = self._spec if url == self._spec.url else dataclasses.replace(self._spec, url=url, headers={})
        return fetch(spec, metainfo.LARGEST)
