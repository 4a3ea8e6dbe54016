"""A torrent file, checked before anything is fetched: one file of known size, in pieces that are not huge.

The name in it is for people and for web seeds; no path is ever made of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agent_router import plugin

# 1 TiB in pieces of 1 MiB has 20 MiB of SHA-1; libtorrent's own limit for what peers send is 30 MiB.
LARGEST = 32 << 20
# The pieces at the ends of the disk are kept in memory until the verdict, whole.
LARGEST_PIECE = 16 << 20
MAX_PIECES = 1 << 21
TRACKERS, WEB_SEEDS = ("http", "https", "udp"), ("http", "https")  # schemes of URLs that can be asked


@dataclass
class Metainfo:
    """What a torrent says; `info` is libtorrent's torrent_info, sizes in bytes, peers (address, port)."""

    info: Any
    name: str
    size: int
    piece_length: int
    pieces: int
    trackers: list[str] = field(default_factory=list)
    web_seeds: list[str] = field(default_factory=list)
    peers: list[tuple[str, int]] = field(default_factory=list)

    def span(self, piece: int) -> tuple[int, int]:
        """Where a piece lies in the image: (start, end)."""
        start = piece * self.piece_length
        return start, min(start + self.piece_length, self.size)

    def covering(self, ranges: Iterable[tuple[int, int]]) -> set[int]:
        """The pieces that have a byte in one of the ranges (start, end)."""
        found: set[int] = set()
        for start, end in ranges:
            start, end = max(start, 0), min(end, self.size)
            if start < end:
                found.update(range(start // self.piece_length, (end - 1) // self.piece_length + 1))
        return found


def parse(lt: Any, content: bytes, name: str) -> Metainfo:
    """The torrent in `content`; `name` is where it came from, for the sentences of Failed."""
    _refuse_other_files(content, name)
    try:
        given = lt.load_torrent_buffer(content, {"max_buffer_size": LARGEST, "max_pieces": MAX_PIECES})
    except RuntimeError as error:
        message = f"{name} is not a usable torrent: {str(error).partition(' [')[0]}"
        raise plugin.Failed("bad_image", message) from None
    _refuse_path((lt.bdecode(content).get(b"info") or {}).get(b"name", b""), name)
    return judge(given.ti, name, trackers=list(given.trackers), web_seeds=list(given.url_seeds))


def judge(
    info: Any, name: str, *, trackers: list[str], web_seeds: list[str], peers: Iterable[tuple[str, int]] = ()
) -> Metainfo:
    """What libtorrent read, as Metainfo; raises Failed for what cannot be a disk image."""
    layout = info.layout()
    pad = layout.flag_pad_file  # a torrent of version 2 fills its last piece with one
    real = [index for index in range(layout.num_files()) if not layout.file_flags(index) & pad]
    if len(real) != 1:
        message = f"{name} holds {len(real)} files instead of one; make a torrent of the image file alone"
        raise plugin.Failed("bad_image", message)
    size, length = layout.file_size(real[0]), info.piece_length()
    _refuse_sizes(size, length, name)
    pieces = -(-size // length)
    return Metainfo(
        info, info.name(), size, length, pieces, known(trackers, TRACKERS), known(web_seeds, WEB_SEEDS), list(peers)
    )


def _refuse_other_files(content: bytes, name: str) -> None:
    """Raise Failed("bad_image") for what cannot be a torrent by its size and its first byte."""
    if len(content) > LARGEST:
        raise plugin.Failed("bad_image", f"{name} has more than {LARGEST >> 20} MiB, which no torrent of one image has")
    if not content.startswith(b"d"):
        raise plugin.Failed("bad_image", f"{name} is not a torrent file: it does not begin with a dictionary")


def _refuse_path(file: Any, name: str) -> None:
    """Raise Failed("bad_image") for a torrent whose file name is a path."""
    if not isinstance(file, bytes) or b"/" in file or b"\0" in file or file in (b".", b".."):
        shown = file[:80].decode(errors="replace") if isinstance(file, bytes) else file
        raise plugin.Failed("bad_image", f"{name} names its file {shown!r}, a path; recreate the torrent")


def _refuse_sizes(size: int, length: int, name: str) -> None:
    """Raise Failed for an empty image, and for pieces of `length` bytes that are too large to be kept in memory."""
    if size == 0:
        raise plugin.Failed("empty", f"{name} is the torrent of an empty file")
    if length > LARGEST_PIECE:
        message = f"{name} has pieces of {length >> 20} MiB; make it with pieces of {LARGEST_PIECE >> 20} MiB at most"
        raise plugin.Failed("bad_image", message)


def known(urls: Iterable[str], schemes: tuple[str, ...]) -> list[str]:
    """Those that can be asked, each once."""
    return [url for url in dict.fromkeys(urls) if url.partition(":")[0].lower() in schemes]
