"""Who does BitTorrent here: libtorrent, or aria2 where only that is installed."""

import importlib
import os
import shutil
from collections.abc import Callable, Iterable, Set
from typing import Any, Protocol

from agent_router import plugin
from agent_router.image.torrent import library
from agent_router.image.torrent.metainfo import Metainfo
from agent_router.image.torrent.session import Limits

Fetch = Callable[[str], bytes]  # what a URL has


class Swarm(Protocol):
    """One torrent whose single file is one of ours. poll() now and then, close() in the end."""

    meta: Metainfo
    wanted: frozenset[int]

    def poll(self) -> None:
        """Take in what happened; raises Failed("write_failed") when the disk did."""

    def have(self, piece: int) -> bool:
        """It is there and was right."""

    def hurry(self, piece: int) -> None:
        """This one is waited for."""

    def read(self, view: memoryview, offset: int) -> None:
        """Fill `view` with what lies at `offset` of the image, of pieces that are there."""

    def ask_web_seeds(self) -> None: ...

    def give(self) -> None:
        """From here on only to those who want something."""

    def make_way(self) -> None:
        """Another swarm of the same torrent gets nothing: hang up if all is here that was wanted."""

    def stats(self) -> dict[str, int]:
        """Bytes that came, by what kind of peer, and that were given away."""

    def close(self) -> None:
        """Nothing is written any more when this returns."""

    @property
    def done(self) -> int: ...
    @property
    def peers(self) -> int: ...
    @property
    def uploaded(self) -> int: ...
    @property
    def trouble(self) -> str: ...


class Engine(Protocol):
    """`picks`: it can leave pieces out, so that a raw image goes straight onto the disk without what boots."""

    name: str
    picks: bool

    def parse(self, content: bytes, name: str) -> Metainfo:
        """The torrent file `content`, which came from `name`."""

    def resolve(self, link: str, name: str, fetch: Fetch, limits: Limits, patience_s: float, work: str) -> Metainfo:
        """The torrent behind a magnet link."""

    def swarm(
        self,
        meta: Metainfo,
        path: str | None,
        wanted: Iterable[int],
        limits: Limits,
        work: str,
        have: Set[int] = frozenset(),
    ) -> Swarm:
        """Fetch the `wanted` pieces into the file or device `path`, but for those that it is known to `have`.

        Without a path into a new sparse file in `work`.
        """


def choose() -> Engine:
    """The better one of those that are here; raises Incompatible("no_source") with what to do where none is."""
    try:
        lt = library.load()
    except plugin.Incompatible as error:
        if shutil.which("aria2c") is None:
            raise plugin.Incompatible(error.code, f"{error.message}; aria2 would do as well") from None
        return _made("aria2.Aria2")
    return _made("by_libtorrent.Libtorrent", lt)


def read_back(fd: int, view: memoryview, offset: int) -> None:
    """Fill `view` with what was written at `offset`."""
    while view:
        count = os.preadv(fd, [view], offset)
        if count == 0:
            raise plugin.Failed("write_failed", f"what was written at byte {offset} cannot be read back")
        view, offset = view[count:], offset + count


def _made(where: str, *args: Any) -> Engine:
    module, name = where.split(".")
    found: Engine = getattr(importlib.import_module(f"agent_router.image.torrent.{module}"), name)(*args)
    return found
