"""A torrent in room of its own while its content is unpacked: what is read once is there for others for longer.

The first piece goes to a scratch file in memory, so that a file of the wrong kind is refused before anything else is
touched; then all is fetched in any order, and read in the order of the file.
"""

from typing import Any

from agent_router.image.torrent.download import Download
from agent_router.image.torrent.session import Limits
from agent_router.image.torrent.swarm import Swarm


def first(lt: Any, download: Download, limits: Limits, work: str, length: int) -> bytes:
    """The first `length` bytes or what there is of them."""
    download.add(Swarm(lt, download.meta, None, {0}, limits, work))
    found = bytearray(min(length, download.meta.span(0)[1]))
    download.read(memoryview(found), 0, hurry=True)
    return bytes(found)


def rest(lt: Any, download: Download, limits: Limits, work: str, path: str) -> None:
    """Fetch what first() has not into `path`."""
    pieces = set(range(1, download.meta.pieces))
    if pieces:
        download.add(Swarm(lt, download.meta, path, pieces, limits, work))
