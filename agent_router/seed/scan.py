"""Read an image once, for everything that its side files need: SHA-256, pieces, where data is."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
SMALLEST_PIECE, LARGEST_PIECE = 256 << 10, 16 << 20
# About as many pieces as keep a swarm busy: fewer have nothing to exchange, more only cost.
PIECES = 1500
BLOCK = 4096  # of a block map


@dataclass
class ScannedImage:
    """One file to be served; sizes in bytes, `data` the ranges (start, end, SHA-256) that are not holes."""

    path: Path
    size: int
    mtime_ns: int
    piece_length: int
    sha256: str = ""
    pieces: bytes = b""
    data: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    def unchanged(self) -> bool:
        """Whether the file is still the one that was read."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


def piece_length(size: int) -> int:
    """A power of two."""
    length = SMALLEST_PIECE
    while length < LARGEST_PIECE and size // length > PIECES:
        length *= 2
    return length


def scan(path: Path, progress: Callable[[int, int], object] = lambda done, size: None) -> ScannedImage:
    """All of one image; raises OSError."""
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        image = ScannedImage(path, status.st_size, status.st_mtime_ns, piece_length(status.st_size))
        ranges = list(mapped(file.fileno(), image.size))
        file.seek(0)
        whole, pieces, held = hashlib.sha256(), [], _Ranges(ranges)
        buffer = memoryview(bytearray(image.piece_length))
        at = 0
        while count := file.readinto(buffer):
            part = buffer[:count]
            whole.update(part)
            pieces.append(hashlib.sha1(part, usedforsecurity=False).digest())
            held.update(at, part)
            at += count
            progress(at, image.size)
    image.sha256, image.pieces, image.data = whole.hexdigest(), b"".join(pieces), held.found()
    return image


def mapped(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """The blocks of 4 KiB that have data, as ranges; the rest are holes of the file system."""
    at, last = 0, (0, 0)
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        start, end = start // BLOCK * BLOCK, min(-(-at // BLOCK) * BLOCK, size)
        if start > last[1] or last[1] == 0:
            if last[1]:
                yield last
            last = (start, end)
        else:
            last = (last[0], end)
    if last[1]:
        yield last


class _Ranges:
    """The SHA-256 of each range, from data that comes in order."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._ranges = ranges
        self._hashes = [hashlib.sha256() for _ in ranges]
        self._next = 0

    def update(self, offset: int, data: memoryview) -> None:
        while self._next < len(self._ranges):
            start, end = self._ranges[self._next]
            if start >= offset + len(data):
                return
            self._hashes[self._next].update(data[max(start - offset, 0) : end - offset])
            if end > offset + len(data):
                return
            self._next += 1

    def found(self) -> list[tuple[int, int, str]]:
        return [(*span, digest.hexdigest()) for span, digest in zip(self._ranges, self._hashes, strict=True)]
