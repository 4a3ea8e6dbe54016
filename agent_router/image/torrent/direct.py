"""A raw image straight onto its disk, without the parts that would make it boot.

A piece with a byte in the first or last MiB of the image goes to a scratch file in memory by a
session of its own: all that can lie in the first or last MiB of the disk is in them. The session
that writes to the disk never wants these pieces. What they hold is given to target.hold(), and
target.finish() puts it onto the disk after the verdict. Then the two sessions together have
everything to give away.
"""

from typing import Any, Protocol

from agent_router.image import formats
from agent_router.image.torrent import known
from agent_router.image.torrent.download import Download
from agent_router.image.torrent.metainfo import Metainfo
from agent_router.image.torrent.session import Limits
from agent_router.image.torrent.swarm import Swarm

MIB = 1 << 20
ZEROS = memoryview(bytes(MIB))
MAGIC = 512  # bytes that tell a format


class Disk(Protocol):
    """Of target.Target, what is needed here."""

    device: str

    def begin(self) -> None: ...
    def zero(self, offset: int, length: int) -> None: ...
    def settle(self) -> None: ...
    def hold(self, offset: int, data: memoryview) -> None: ...
    def mark(self, offset: int, length: int) -> None: ...


class Digest(Protocol):
    def update(self, data: memoryview) -> object: ...


def ends(meta: Metainfo) -> set[int]:
    """The pieces that stay away from the disk."""
    return meta.covering([(0, MIB), (meta.size - MIB, meta.size)])


def write(lt: Any, download: Download, disk: Disk, digest: Digest, limits: Limits, work: str, name: str) -> None:
    """The whole image: through `digest` in order, the ends to disk.hold(), all else onto the disk."""
    meta = download.meta
    apart = ends(meta)
    download.add(Swarm(lt, meta, None, apart, limits, work))
    buffer = memoryview(bytearray(min(MIB, meta.size)))
    start = buffer[:MAGIC]
    download.read(start, 0, hurry=True)
    formats.refuse_other("raw", bytes(start), name)  # the disk is as it was until here
    disk.begin()
    body = set(range(meta.pieces)) - apart
    empty = _zeros(meta, body, disk)
    have = known.there(meta, disk.device, body - empty)
    if body:
        download.add(Swarm(lt, meta, disk.device, body, limits, work, have | empty))
    download.known = {"bytes_of_zeros": len(empty) * meta.piece_length, "bytes_there": len(have) * meta.piece_length}
    for piece in range(meta.pieces):
        at, end = meta.span(piece)
        while at < end:
            part = buffer[: min(MIB, end - at)]
            if piece in empty:
                part = ZEROS[: len(part)]
            else:
                download.read(part, at)
            digest.update(part)
            if piece in apart:
                disk.hold(at, part)
            elif piece not in empty:
                disk.mark(at, len(part))
            at += len(part)


def _zeros(meta: Metainfo, body: set[int], disk: Disk) -> set[int]:
    """The pieces of zeros, which the disk makes itself, before anybody asks for them."""
    empty = known.zeros(meta) & body
    for first, last in known.runs(empty):
        start, end = meta.span(first)[0], meta.span(last)[1]
        disk.zero(start, end - start)
    disk.settle()
    return empty
