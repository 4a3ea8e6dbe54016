"""Pieces that need not be fetched: those of zeros, and those that are on the disk already.

A torrent has a hash of every piece. So the holes of a sparse image cost nothing, an interrupted download goes on where
it stopped, and a disk that had an older version of the image gets only what changed. The digest of the whole image is
the authority here too.
"""

import hashlib
import os
from collections.abc import Iterable
from itertools import groupby

from agent_router import plugin
from agent_router.image.sources.torrent.metainfo import Metainfo

# Pieces that are sampled to see whether looking at all of them is worth it, and how many of them must be right.
SAMPLES, ENOUGH = 32, 8
STEP = 1 << 20


def zeros(meta: Metainfo) -> set[int]:
    """The whole pieces of zeros; v2-only torrents do not tell."""
    if not meta.info.info_hashes().has_v1():
        return set()
    empty = hashlib.sha1(bytes(meta.piece_length), usedforsecurity=False).digest()
    whole = meta.size // meta.piece_length
    return {piece for piece in range(whole) if meta.info.hash_for_piece(piece) == empty}


def found_on(meta: Metainfo, device: str, pieces: Iterable[int]) -> set[int]:
    """Those of `pieces` that lie on the device already, as long as some samples are right."""
    candidates = sorted(pieces)
    if not meta.info.info_hashes().has_v1() or not candidates:
        return set()
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        samples = candidates[:: max(len(candidates) // SAMPLES, 1)]
        right = sum(_is_right(meta, fd, piece) for piece in samples)
        if right * SAMPLES < ENOUGH * len(samples):
            return set()
        found = set()
        for number, piece in enumerate(candidates):
            plugin.progress(number, len(candidates), "pieces", "looking for pieces that are on the disk already")
            if _is_right(meta, fd, piece):
                found.add(piece)
        return found
    finally:
        os.close(fd)


def runs(pieces: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbours as (first, last)."""
    groups = groupby(enumerate(sorted(pieces)), key=lambda pair: pair[1] - pair[0])
    return [(found[0], found[-1]) for found in ([piece for _, piece in group] for _, group in groups)]


def _is_right(meta: Metainfo, fd: int, piece: int) -> bool:
    at, end = meta.span(piece)
    state = hashlib.sha1(usedforsecurity=False)
    while at < end:
        try:
            data = os.pread(fd, min(STEP, end - at), at)
        except OSError:  # a sector that cannot be read may well be written
            return False
        if not data:
            return False
        state.update(data)
        at += len(data)
    return state.digest() == bytes(meta.info.hash_for_piece(piece))
