"""The transport formats, each packed as fast as it can be: what is packed is for unpacking."""

import bz2
import gzip
import lzma
from collections.abc import Callable

from agent_router.image.formats.unpackers import zstd_module


def zst(data: bytes, **options: int) -> bytes:
    """With a checksum, as zstd(1) packs."""
    zstd, given = zstd_module(), {"checksum_flag": 1, **options}
    return zstd.compress(data, options={getattr(zstd.CompressionParameter, key): n for key, n in given.items()})


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1), "xz": lambda data: lzma.compress(data, preset=0),
    "zst": zst, "bz2": lambda data: bz2.compress(data, 1),
}  # fmt: skip
