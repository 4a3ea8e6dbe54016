"""A raw image straight to its disk, without the parts that would make it boot.

Pieces with a byte in the first or last MiB of the image are fetched by a session of their own, into a scratch file in
memory: they hold everything that can lie in the first or last MiB of the disk. The session that writes to the disk
never wants these pieces. Their bytes go to disk.hold(), and disk.finish() writes them after the verdict. Then the two
sessions together have everything to give away.
"""

from typing import Any

from agent_router.image import formats
from agent_router.image.protocols import DiskDestination, Hash
from agent_router.image.sources.torrent import existing_pieces
from agent_router.image.sources.torrent.download import Download
from agent_router.image.sources.torrent.metainfo import Metainfo
from agent_router.image.sources.torrent.session import SessionLimits
from agent_router.image.sources.torrent.swarm import Swarm

MIB = 1 << 20
ZEROS = memoryview(bytes(MIB))
MAGIC = 512  # bytes that tell a format


def ends(meta: Metainfo) -> set[int]:
    """The pieces that are kept off the disk."""
    return meta.covering([(0, MIB), (meta.size - MIB, meta.size)])


def write_to_disk(
    lt: Any, download: Download, disk: DiskDestination, digest: Hash, limits: SessionLimits, work: str, name: str
) -> None:
    """The whole image: through `digest` in order, the ends to disk.hold(), all else to the disk."""
    meta = download.meta
    apart = ends(meta)
    download.add(Swarm(lt, meta, None, apart, limits, work))
    buffer = memoryview(bytearray(min(MIB, meta.size)))
    start = buffer[:MAGIC]
    download.read(start, 0, hurry=True)
    formats.refuse_other("raw", bytes(start), name)  # the disk is as it was until here
    disk.begin(meta.size)
    body = set(range(meta.pieces)) - apart
    empty = _zeros(meta, body, disk)
    have = existing_pieces.found_on(meta, disk.device, body - empty)
    if body:
        download.add(Swarm(lt, meta, disk.device, body, limits, work, have | empty))
    download.not_fetched = {
        "bytes_of_zeros": len(empty) * meta.piece_length,
        "bytes_there": len(have) * meta.piece_length,
    }
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


def _zeros(meta: Metainfo, body: set[int], disk: DiskDestination) -> set[int]:
    """The pieces of zeros, which the disk makes before they are asked for."""
    empty = existing_pieces.zeros(meta) & body
    for first, last in existing_pieces.runs(empty):
        start, end = meta.span(first)[0], meta.span(last)[1]
        disk.zero(start, end - start)
    disk.settle()
    return empty
