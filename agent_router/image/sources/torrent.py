"""An image by BitTorrent: a torrent file by http or from a path, or a magnet link."""

import contextlib
import dataclasses
from typing import Any

from agent_router import plugin
from agent_router.image.sources.fetch import fetch
from agent_router.image.sources.spec import Spec
from agent_router.image.stage import Stage
from agent_router.image.torrent import direct, kept, library, magnet, metainfo
from agent_router.image.torrent import session as session_module
from agent_router.image.torrent.download import Download
from agent_router.image.torrent.metainfo import Metainfo
from agent_router.image.torrent.session import Limits

RATIO = 3.0  # who gave three images away has done its share


class Torrent:
    """A protocols.Source that needs room while it is read: first() and keep() come before readinto() and read_at().

    A raw image needs none: direct() writes it onto the disk.
    extras of the spec: `linger_s`, `linger_ratio` (images given away), `upload_bps`, `listen` (an address of this
    machine; else the one that faces the torrent's servers, else all).
    """

    writes_disks = True

    def __init__(self, spec: Spec) -> None:
        self.name = spec.name
        self.size: int | None = None
        self.offset = 0
        self.resumed = 0
        self._spec = spec
        self._lt: Any = None
        self._meta: Metainfo | None = None
        self._download: Download | None = None
        self._stage: Stage | None = None
        self._stats: dict[str, Any] = {}

    def open(self) -> None:
        self._lt = library.load()
        url = self._spec.url
        if url.startswith("magnet:"):
            limits = self._limits(magnet.servers(url))
            self._meta = magnet.resolve(
                self._lt, url, self.name, self._fetch, limits, self._spec.patience_s, self._spec.work
            )
        else:
            self._meta = metainfo.parse(self._lt, self._fetch(url), self.name)
        self.size = self._meta.size

    def direct(self, target: direct.Disk, digest: direct.Digest) -> None:
        """A raw image straight onto the disk, its ends held back. Nothing writes any more when this has raised."""
        download, limits = self._begin()
        try:
            direct.write(self._lt, download, target, digest, limits, self._spec.work, self.name)
        except BaseException:
            self.close()
            raise
        self.offset = download.meta.size

    def first(self, length: int) -> bytes:
        """The first bytes, fetched before anything is touched."""
        download, limits = self._begin()
        return kept.first(self._lt, download, limits, self._spec.work, length)

    def keep(self, stage: Stage) -> None:
        """From here on all of it is fetched into `stage`, which is closed with this."""
        self._stage = stage
        meta = self._opened()
        assert self._download is not None, "first() comes first"
        kept.rest(self._lt, self._download, self._limits_of(meta), self._spec.work, stage.path)
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
        """Progress of unpacking, once all is here; until then what comes in is told by the download."""
        download = self._download
        if download is not None and download.done >= download.meta.size:
            size = download.meta.size
            plugin.progress(size - 1, size, "bytes", f"all is here, {100 * done // size} % of it unpacked")

    def _read(self, view: memoryview, offset: int, *, hurry: bool = False) -> None:
        if self._download is None:
            raise plugin.Failed("stopped", f"{self.name}: given up after {self.offset} bytes")
        self._download.read(view, offset, hurry=hurry)

    def linger(self) -> None:
        """After the verdict: give to others for `linger_s` seconds."""
        extras = self._spec.extras
        if self._download is not None and extras.get("linger_s"):
            self._download.linger(extras["linger_s"], extras.get("linger_ratio", RATIO))

    def stats(self) -> dict[str, Any]:
        """The same dict each time, brought up to date by close(): what was given to others is told with the result."""
        if self._download is not None:
            with contextlib.suppress(plugin.Failed):  # a disk that failed is known already
                self._stats.update(self._download.stats())
        return self._stats

    def close(self) -> None:
        self.stats()
        download, self._download = self._download, None
        if download is not None:
            download.close()
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.close()

    def _opened(self) -> Metainfo:
        assert self._meta is not None, "open() comes first"
        return self._meta

    def _begin(self) -> tuple[Download, Limits]:
        meta = self._opened()
        self._download = Download(meta, self.name, self._spec.patience_s)
        return self._download, self._limits_of(meta)

    def _limits_of(self, meta: Metainfo) -> Limits:
        return self._limits([self._spec.url, *meta.trackers, *meta.web_seeds])

    def _limits(self, servers: list[str]) -> Limits:
        extras = self._spec.extras
        listen = extras.get("listen") or session_module.facing(servers)
        return Limits(listen=listen, upload_bps=extras.get("upload_bps", 0))

    def _fetch(self, url: str) -> bytes:
        """A torrent file as a whole. What opens the door of one URL is not for another."""
        spec = self._spec if url == self._spec.url else dataclasses.replace(self._spec, url=url, headers={})
        return fetch(spec, metainfo.LARGEST)
