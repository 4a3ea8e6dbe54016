"""The engine.Engine that libtorrent is."""

from collections.abc import Iterable, Set
from typing import Any

from agent_router.image.torrent import magnet, metainfo
from agent_router.image.torrent.engine import Fetch
from agent_router.image.torrent.metainfo import Metainfo
from agent_router.image.torrent.session import Limits
from agent_router.image.torrent.swarm import Swarm


class Libtorrent:
    name = "libtorrent"
    picks = True

    def __init__(self, lt: Any) -> None:
        self._lt = lt

    def parse(self, content: bytes, name: str) -> Metainfo:
        return metainfo.parse(self._lt, content, name)

    def resolve(self, link: str, name: str, fetch: Fetch, limits: Limits, patience_s: float, work: str) -> Metainfo:
        return magnet.resolve(self._lt, link, name, fetch, limits, patience_s, work)

    def swarm(
        self,
        meta: Metainfo,
        path: str | None,
        wanted: Iterable[int],
        limits: Limits,
        work: str,
        have: Set[int] = frozenset(),
    ) -> Swarm:
        return Swarm(self._lt, meta, path, wanted, limits, work, have)
