"""An image by BitTorrent: a torrent file by http or from a path, or a magnet link."""

import contextlib
import dataclasses
from typing import Any

from agent_router import plugin
from agent_router.image.sources.fetch import fetch
from agent_router.image.sources.spec import Spec
from agent_router.image.torrent import direct, library, magnet, metainfo
from agent_router.image.torrent import session as session_module
from agent_router.image.torrent.download import Download
from agent_router.image.torrent.metainfo import Metainfo
from agent_router.image.torrent.session import Limits

RATIO = 3.0  # who gave three images away has done its share


class Torrent:
    """A protocols.Source that writes raw images onto the disk by itself: direct() instead of readinto().

    extras of the spec: `linger_s`, `linger_ratio` (images given away), `upload_bps`, `listen` (an address of this
    machine; else the one that faces the torrent's servers, else all).
    """

    def __init__(self, spec: Spec) -> None:
        self.name = spec.name
        self.size: int | None = None
        self.offset = 0
        self.resumed = 0
        self._spec = spec
        self._lt: Any = None
        self._meta: Metainfo | None = None
        self._download: Download | None = None
        self._stats: dict[str, Any] = {}

    def open(self) -> None:
        self._lt = library.load()
        if self._spec.url.startswith("magnet:"):
            link = self._spec.url
            servers = [*magnet.parse(self._lt, link, self.name).trackers, *magnet.links(link, "xs")]
            servers += [*magnet.links(link, "ws"), *magnet.links(link, "as")]
            limits = self._limits(servers)
            self._meta = magnet.resolve(
                self._lt, link, self.name, self._fetch, limits, self._spec.patience_s, self._spec.work
            )
        else:
            self._meta = metainfo.parse(self._lt, self._fetch(self._spec.url), self.name)
        self.size = self._meta.size

    def direct(self, target: direct.Disk, digest: direct.Digest) -> None:
        """A raw image straight onto the disk, its ends held back. Nothing writes any more when this has raised."""
        meta = self._opened()
        self._download = Download(meta, self.name, self._spec.patience_s)
        limits = self._limits([self._spec.url, *meta.trackers, *meta.web_seeds])
        try:
            direct.write(self._lt, self._download, target, digest, limits, self._spec.work, self.name)
        except BaseException:
            self.close()
            raise
        self.offset = meta.size

    def readinto(self, buffer: memoryview) -> int:
        raise self._not_in_order()

    def read_at(self, offset: int, length: int) -> bytes:
        raise self._not_in_order()

    def _not_in_order(self) -> plugin.Failed:
        # What was unpacked is nowhere any more, and a peer that cannot give on what it got is a burden to the swarm.
        cure = "publish the raw image and leave a block map out, or name an http source"
        return plugin.Incompatible("no_range", f"{self.name}: a torrent goes onto a disk as it is; {cure}")

    def linger(self) -> None:
        """After the verdict: give to others for `linger_s` seconds."""
        extras = self._spec.extras
        if self._download is not None and extras.get("linger_s"):
            self._download.linger(extras["linger_s"], extras.get("linger_ratio", RATIO))

    def stats(self) -> dict[str, Any]:
        """The same dict each time, brought up to date by close(): what was given to others is told with the result."""
        if self._download is not None:
            self._stats.update(self._download.stats())
        return self._stats

    def close(self) -> None:
        if self._download is not None:
            with contextlib.suppress(plugin.Failed):  # a disk that failed is known already
                self.stats()
            self._download.close()
            self._download = None

    def _opened(self) -> Metainfo:
        assert self._meta is not None, "open() comes first"
        return self._meta

    def _limits(self, servers: list[str]) -> Limits:
        extras = self._spec.extras
        listen = extras.get("listen") or session_module.facing(servers)
        return Limits(listen=listen, upload_bps=extras.get("upload_bps", 0))

    def _fetch(self, url: str) -> bytes:
        """A torrent file as a whole. What opens the door of one URL is not for another."""
        spec = self._spec if url == self._spec.url else dataclasses.replace(self._spec, url=url, headers={})
        return fetch(spec, metainfo.LARGEST)
