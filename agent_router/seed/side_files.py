"""The files that describe where an image is and how to verify it: .torrent, .meta4, .bmap, SHA256SUMS."""

import hashlib
from collections.abc import Sequence
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from agent_router.seed.bencode import Value, encode
from agent_router.seed.scan import BLOCK, ScannedImage

ZEROS = "0" * 64


def torrent(image: ScannedImage, base_url: str, trackers: Sequence[str], comment: str = "") -> bytes:
    """Version 1, which every client understands. Its SHA-1 is weak, but the digest of the command decides."""
    content: dict[str, Value] = {
        "created by": "agent-router",
        "info": info_of(image),
        "url-list": [url_of(base_url, image.name)],
    }
    if trackers:
        # Each in a tier of its own would mean that only the first is asked (BEP 12).
        content["announce"] = trackers[0]
        content["announce-list"] = [list(trackers)]
    if comment:
        content["comment"] = comment
    return encode(content)


def info_of(image: ScannedImage) -> dict[str, Value]:
    return {"length": image.size, "name": image.name, "piece length": image.piece_length, "pieces": image.pieces}


def info_hash(image: ScannedImage) -> bytes:
    """What a version 1 torrent is known by (BEP 3)."""
    return hashlib.sha1(encode(info_of(image)), usedforsecurity=False).digest()


def magnet(image: ScannedImage, base_url: str, trackers: Sequence[str]) -> str:
    """A link that works without the torrent file; xs names that too, so that no peer need be asked for it."""
    url = url_of(base_url, image.name)
    pairs = [("dn", image.name), ("xs", f"{url}.torrent"), ("ws", url)]
    pairs += [("tr", url) for url in trackers]
    rest = "".join(f"&{key}={quote(value, safe='')}" for key, value in pairs)
    return f"magnet:?xt=urn:btih:{info_hash(image).hex()}{rest}"


def metalink(image: ScannedImage, base_url: str, multicast: str = "", torrent: bool = True) -> bytes:
    """Metalink 4 (RFC 5854): multicast first, then the swarm, then plain HTTP."""
    urls = []
    if multicast:
        urls.append(f'    <url priority="1">{escape(multicast)}</url>')
    if torrent:
        url = escape(url_of(base_url, f"{image.name}.torrent"))
        urls.append(f'    <metaurl mediatype="torrent" priority="2">{url}</metaurl>')
    urls.append(f'    <url priority="3">{escape(url_of(base_url, image.name))}</url>')
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>', '<metalink xmlns="urn:ietf:params:xml:ns:metalink">',
        f"  <file name={quoteattr(image.name)}>", f"    <size>{image.size}</size>",
        f'    <hash type="sha-256">{image.sha256}</hash>', *urls, "  </file>", "</metalink>", "",
    ]  # fmt: skip
    return "\n".join(lines).encode()


def bmap(image: ScannedImage) -> bytes:
    """A block map of version 2.0, as bmaptool reads it: what it leaves out is a hole."""
    ranges = []
    for start, end, digest in image.data:
        first, last = start // BLOCK, (end - 1) // BLOCK
        span = f"{first}" if first == last else f"{first}-{last}"
        ranges.append(f'        <Range chksum="{digest}"> {span} </Range>')
    mapped = sum((end - 1) // BLOCK - start // BLOCK + 1 for start, end, _ in image.data)
    lines = [
        '<?xml version="1.0" ?>', '<bmap version="2.0">', f"    <ImageSize> {image.size} </ImageSize>",
        f"    <BlockSize> {BLOCK} </BlockSize>", f"    <BlocksCount> {-(-image.size // BLOCK)} </BlocksCount>",
        f"    <MappedBlocksCount> {mapped} </MappedBlocksCount>", "    <ChecksumType> sha256 </ChecksumType>",
        f"    <BmapFileChecksum> {ZEROS} </BmapFileChecksum>", "    <BlockMap>", *ranges, "    </BlockMap>",
        "</bmap>", "",
    ]  # fmt: skip
    content = "\n".join(lines).encode()
    # Its own checksum is that of itself with zeros in that place.
    return content.replace(ZEROS.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def checksums(images: Sequence[ScannedImage]) -> bytes:
    """As sha256sum(1) writes and checks them."""
    return "".join(f"{image.sha256}  {image.name}\n" for image in images).encode()


def url_of(base_url: str, name: str) -> str:
    return f"{base_url.rstrip('/')}/{quote(name)}"
