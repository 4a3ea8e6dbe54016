"""A Source of bytes and a Sink that keeps them, to try decoders with, and the images they are tried on."""

import random
import subprocess
from pathlib import Path

from agent_router.image.protocols import InOrderOnly
from agent_router.plugin import Failed

KIB = 1 << 10
LARGEST = 64 << 20  # no test has a larger disk: a write beyond it is a mistake


class Bytes:
    """A Source. `ranges=False`: a server that knows no Range requests."""

    def __init__(self, data: bytes, *, ranges: bool = True, announced: bool = True) -> None:
        self.data, self.ranges = data, ranges
        self.name = "https://host/image"
        self.size = len(data) if announced else None
        self.asked: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        if not self.ranges:
            raise InOrderOnly
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


class Memory:
    """A Sink, as strict as a disk of `limit` bytes: what is never given reads as zeros."""

    def __init__(self, limit: int = LARGEST) -> None:
        self.limit, self.size = limit, 0
        self.data = bytearray()
        self.pieces: list[int] = []

    def expect(self, size: int) -> None:
        if size > self.limit:
            raise Failed("too_large", f"the image has {size} bytes, the disk has {self.limit}")
        self.size = max(self.size, size)

    def write(self, offset: int, data) -> None:
        assert offset >= 0
        assert len(data)
        self.pieces.append(len(data))
        self.expect(offset + len(data))
        self.data.extend(bytes(max(0, offset + len(data) - len(self.data))))
        self.data[offset : offset + len(data)] = data

    def zero(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def image(self) -> bytes:
        return bytes(self.data) + bytes(self.size - len(self.data))


def decode(decoder, source, piece: int = 1 << 20) -> None:
    """All of `source` in pieces of that size, through a buffer that is used again, as the pipeline does it."""
    decoder.begin(source)
    buffer = memoryview(bytearray(piece))
    for at in range(0, len(source.data), piece):
        part = source.data[at : at + piece]
        buffer[: len(part)] = part
        decoder.feed(buffer[: len(part)])
        buffer[:] = b"\xee" * piece
    decoder.finish()


def unpack(kind, data: bytes, piece: int = 1 << 20, limit: int = LARGEST) -> bytes:
    sink = Memory(limit)
    decode(kind(sink), Bytes(data), piece)
    return sink.image()


def disk(size_kib: int, seed: int = 1) -> bytes:
    """Zeros, noise and what compresses well, in turn; the size is no multiple of any cluster."""
    dice, found = random.Random(seed), bytearray()
    for _ in range(size_kib // 16):
        found += dice.choice((bytes(16 * KIB), dice.randbytes(16 * KIB), dice.randbytes(64) * 256))
    return bytes(found) + dice.randbytes(512)


def qcow2(folder: Path, raw: bytes, *options: str) -> bytes:
    """What qemu-img makes of a raw image."""
    (folder / "disk.raw").write_bytes(raw)
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, "disk.raw", "disk.qcow2"]
    subprocess.run(argv, cwd=folder, check=True)
    return (folder / "disk.qcow2").read_bytes()
