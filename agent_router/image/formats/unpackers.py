"""Decompressors of one shape: that of bz2.BZ2Decompressor, which lzma's, zstd's and isal's have too.

Each unpacks one member (gzip), stream (xz, bzip2) or frame (zstd), and never returns more than was
requested: what a few bytes could expand to is never in memory.
"""

import bz2
import contextlib
import functools
import importlib
import lzma
import zlib
from typing import Any, Protocol

from agent_router import plugin

igzip_lib: Any = None
with contextlib.suppress(ImportError):  # optional: three times as fast as zlib
    igzip_lib = importlib.import_module("isal.igzip_lib")

MIB = 1 << 20
# What unpacking may take: xz -9 needs 65 MiB, zstd --long=27 needs 128.
XZ_MEMORY = 128 * MIB
ZSTD_WINDOW_LOG = 27


class Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int = -1) -> bytes: ...


class ZlibUnpacker:
    """zlib's own decompressor in that shape."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int = -1) -> bytes:
        waiting = self._inner.unconsumed_tail
        found = self._inner.decompress(waiting + data if waiting else data, max(max_length, 0))
        # What is left inside comes out before the trailer is taken, so there is always some input after it.
        self.needs_input = not self.eof and not self._inner.unconsumed_tail
        return found


def gzip_member() -> Unpacker:
    if igzip_lib is not None:
        member: Unpacker = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return member
    return ZlibUnpacker(31)  # 31: a gzip header and trailer, and the largest window


def deflate(window_log: int) -> Unpacker:
    """Deflate without header or checksum."""
    if igzip_lib is not None:
        stream: Unpacker = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE, hist_bits=window_log)
        return stream
    return ZlibUnpacker(-window_log)


def xz_stream() -> Unpacker:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


def bzip2_stream() -> Unpacker:
    return bz2.BZ2Decompressor()


@functools.cache
def zstd_module() -> Any:
    """Python's own zstd (3.14) or its backport; Incompatible("tool_missing") without either."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    cure = "install the Python package backports.zstd, or publish the image as gz or xz"
    raise plugin.Incompatible("tool_missing", f"zstd cannot be unpacked on this machine: {cure}")


def zstd_frame(window_log: int = ZSTD_WINDOW_LOG) -> Unpacker:
    zstd = zstd_module()
    found: Unpacker = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})
    return found


def errors() -> tuple[type[Exception], ...]:
    """What they raise for invalid data."""
    known: list[type[Exception]] = [zlib.error, lzma.LZMAError, OSError, ValueError, EOFError]
    if igzip_lib is not None:
        known.append(igzip_lib.IsalError)
    with contextlib.suppress(plugin.Incompatible):
        known.append(zstd_module().ZstdError)
    return tuple(known)
