"""A torrent file read without libtorrent: version 1, one file (BEP 3)."""

import hashlib
from dataclasses import dataclass
from typing import Any

from agent_router import plugin
from agent_router.image.torrent import metainfo
from agent_router.image.torrent.bencode import decode
from agent_router.image.torrent.metainfo import Metainfo

SHA1 = 20  # bytes of the hash of a piece


@dataclass(frozen=True)
class Torrent:
    """What stands in Metainfo.info for a program that reads the file itself."""

    content: bytes
    info_hash: bytes


def parse(content: bytes, name: str) -> Metainfo:
    """As metainfo.parse(); a torrent of version 2 is refused too, and a hybrid, which aria2 takes for another one."""
    metainfo.refuse_other_files(content, name)
    try:
        found, raw = decode(content)
    except ValueError as error:
        raise _bad(name, f"is no torrent that can be used: {error}") from None
    info = found.get(b"info")
    if not isinstance(info, dict):
        raise _bad(name, "is no torrent that can be used: it has no info")
    metainfo.refuse_path(info.get(b"name"), name)
    if b"meta version" in info:
        raise _bad(name, "is a torrent of version 2 or a hybrid, which aria2 does not know: make one of version 1")
    size, length, pieces = _size(info, name), info.get(b"piece length"), info.get(b"pieces")
    if not isinstance(length, int) or length <= 0 or not isinstance(pieces, bytes):
        raise _bad(name, "is no torrent that can be used: its piece length or its hashes are none")
    metainfo.refuse_sizes(size, length, name)
    if len(pieces) != -(-size // length) * SHA1:
        raise _bad(name, "is no torrent that can be used: it has another number of piece hashes than pieces")
    torrent = Torrent(content, hashlib.sha1(raw, usedforsecurity=False).digest())
    return Metainfo(
        torrent,
        info[b"name"].decode(errors="replace"),
        size,
        length,
        len(pieces) // SHA1,
        metainfo.known(_trackers(found), metainfo.TRACKERS),
        metainfo.known(_texts(found.get(b"url-list")), metainfo.WEB_SEEDS),
    )


def _size(info: dict[bytes, Any], name: str) -> int:
    files = info.get(b"files", [info])
    if not isinstance(files, list) or len(files) != 1 or not isinstance(files[0], dict):
        count = len(files) if isinstance(files, list) else "no"
        raise _bad(name, f"holds {count} files, an image is one; make a torrent of the image file alone")
    size = files[0].get(b"length")
    if not isinstance(size, int) or size < 0:
        raise _bad(name, "is no torrent that can be used: the length of its file is none")
    return size


def _trackers(found: dict[bytes, Any]) -> list[str]:
    tiers = found.get(b"announce-list")
    listed = [url for tier in tiers if isinstance(tier, list) for url in tier] if isinstance(tiers, list) else []
    return _texts([found.get(b"announce"), *listed])


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one.decode(errors="replace") for one in values if isinstance(one, bytes)]


def _bad(name: str, what: str) -> plugin.Failed:
    return plugin.Failed("bad_image", f"{name} {what}")
