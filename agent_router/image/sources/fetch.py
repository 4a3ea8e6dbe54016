"""Fetch a small file whole: a Metalink, a torrent, a checksum file, a block map."""

import dataclasses

from agent_router import plugin
from agent_router.image.protocols import Source
from agent_router.image.sources.file import FileSource
from agent_router.image.sources.http.source import HttpSource
from agent_router.image.sources.spec import Spec, split

PIECE = 1 << 16


def fetch(spec: Spec, limit_bytes: int) -> bytes:
    """The file at spec.url, over http(s) or from a path; raises Failed("too_large") beyond the limit.

    Digest, size, compression and mirrors of `spec` are those of the image and do not apply to this file.
    """
    plain = dataclasses.replace(spec, digest=None, digest_known=False, size_bytes=None, packed=None, mirrors=())
    source: Source = FileSource(plain) if split(spec.url)[0] == "file" else HttpSource(plain)
    found, buffer = bytearray(), memoryview(bytearray(PIECE))
    try:
        source.open()
        while len(found) <= limit_bytes and (count := source.readinto(buffer)):
            found += buffer[:count]
    finally:
        source.close()
    if len(found) > limit_bytes:
        raise plugin.Failed(
            "too_large", f"{spec.name} has more than {limit_bytes} bytes, too many for a file of its kind"
        )
    return bytes(found)
