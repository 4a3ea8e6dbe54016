"""A block map (bmaptool's format, versions 1.0 to 2.0): which blocks of an image hold data, and their digests.

Digests came with version 1.3, SHA-1 then: sha1 in a range, BmapFileSHA1 of the map itself. Since 1.4 ChecksumType names
the algorithm, and they are chksum and BmapFileChecksum.

What is not mapped is dropped: the destination makes it zeros. Each mapped range is compared
with its own digest as it passes, so that a wrong one is found before the image is over.
"""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from agent_router import plugin
from agent_router.image.formats import magic
from agent_router.image.formats.clear_signed import SIGNED, without_signature
from agent_router.image.protocols import Buffer, Sink

LIMIT = 64 << 20  # bytes of XML: a range takes 130, so half a million of them
ALGORITHMS = {"sha1", "sha256", "sha512"}
NEWEST = 2  # version
_CHECKSUM = re.compile(rb"(<BmapFile(?:Checksum|SHA1)>\s*)([0-9a-fA-F]+)(\s*</BmapFile(?:Checksum|SHA1)>)")


@dataclass(slots=True)
class MappedRange:
    start: int  # bytes
    end: int
    digest: str


@dataclass(slots=True)
class BlockMap:
    name: str
    image_size: int = 0
    algorithm: str = "sha256"
    ranges: list[MappedRange] = field(default_factory=list)

    @property
    def mapped(self) -> int:
        return sum(one.end - one.start for one in self.ranges)


def parse(text: bytes, name: str) -> BlockMap:
    """Raises Failed("bad_bmap") for anything that bmaptool would not write."""
    text = _refuse_other(text, name)
    try:
        found = _fields(text)
        if int(found["version"].partition(".")[0]) > NEWEST:
            raise ValueError(f"its version {found['version']} is not known: make it again with an older bmaptool")
        block = int(found["BlockSize"])
        algorithm = found.get("ChecksumType", "sha1" if "BmapFileSHA1" in found else "sha256").lower()
        bmap = BlockMap(name, int(found["ImageSize"]), algorithm)
        if bmap.algorithm not in ALGORITHMS:
            raise ValueError(f"unknown checksum {bmap.algorithm}")
        if block <= 0 or bmap.image_size <= 0:
            raise ValueError("no sizes")
        for attributes, blocks in found["ranges"]:
            first, _, last = blocks.strip().partition("-")
            end = min((int(last or first) + 1) * block, bmap.image_size)
            digest = (attributes.get("chksum") or attributes.get("sha1") or "").lower()
            bmap.ranges.append(MappedRange(int(first) * block, end, digest))
        _check_order(bmap.ranges)
        _check_digest(text, bmap.algorithm)
    except (expat.ExpatError, KeyError, ValueError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise plugin.Failed("bad_bmap", f"{name} is not a usable block map: {what}") from None
    return bmap


def _refuse_other(text: bytes, name: str) -> bytes:
    """The XML, without a clear signature around it; raises Failed for what is something else."""
    if text.lstrip().startswith(SIGNED.encode()):
        text = without_signature(text.decode("latin-1")).encode("latin-1")
        if not text:
            raise plugin.Failed("bad_bmap", f"{name} is a signed block map that is cut off: publish it again")
    if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<bmap", b"<!--", b"<!DOCTYPE bmap")):
        kind = magic.kind_of(text)
        what = f" but {magic.title(kind)}" if kind else ""
        cure = "give the URL of the .bmap file, as bmaptool or agent-router seed make it"
        raise plugin.Failed("bad_bmap", f"{name} is not a block map{what}: {cure}")
    return text


def _fields(text: bytes) -> dict[str, Any]:
    """The text of each element; `ranges` as (attributes, text), and the `version`."""
    found: dict[str, Any] = {"ranges": [], "version": "1.0"}
    path: list[tuple[str, dict[str, str], list[str]]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if not path:
            if tag != "bmap":
                raise ValueError(f"its root element is {tag}, not bmap: give the URL of the .bmap file")
            found["version"] = attributes.get("version", "1.0")
        path.append((tag, attributes, []))

    def end(tag: str) -> None:
        _, attributes, pieces = path.pop()
        content = "".join(pieces).strip()
        if tag == "Range":
            found["ranges"].append((attributes, content))
        elif len(path) == 1:
            found[tag] = content

    def entity(*_: object) -> None:
        raise ValueError("it declares entities")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda data: path[-1][2].append(data)
    parser.EntityDeclHandler = entity
    parser.Parse(text, True)
    return found


def _check_order(ranges: list[MappedRange]) -> None:
    before = 0
    for one in ranges:
        if one.start < before or one.end <= one.start:
            raise ValueError("its ranges are not in order or lie outside the image")
        before = one.end


def _check_digest(text: bytes, algorithm: str) -> None:
    """The map's own digest is that of its text with zeros in the digest's place."""
    match = _CHECKSUM.search(text)
    if match is None:
        return  # before version 1.3 there was none
    blank = text[: match.start(2)] + b"0" * len(match[2]) + text[match.end(2) :]
    if hashlib.new(algorithm, blank, usedforsecurity=False).hexdigest() != match[2].decode().lower():
        raise ValueError("its own checksum does not match: it is damaged")


class BlockMapSink:
    """A Filter: only what the map has passes, in order."""

    def __init__(self, bmap: BlockMap, sink: Sink) -> None:
        self._bmap, self._sink = bmap, sink
        self._next = 0  # index of the range that comes next or is in progress
        self._offset = 0
        self._digest = self._new()
        sink.expect(bmap.image_size)

    def expect(self, size: int) -> None:
        if size != self._bmap.image_size:
            raise self._other_size(size)

    def write(self, offset: int, data: Buffer) -> None:
        if offset != self._offset:
            message = f"{self._bmap.name}: a block map goes with a raw image, compressed or not, but not with qcow2"
            raise plugin.InvalidRequest("bad_bmap", message)
        self._offset = end = offset + len(data)
        if end > self._bmap.image_size:
            raise self._other_size(end)
        view = memoryview(data)
        ranges = self._bmap.ranges
        while self._next < len(ranges) and ranges[self._next].start < end:
            one = ranges[self._next]
            first = max(one.start, offset)
            part = view[first - offset : min(one.end, end) - offset]
            if one.digest:
                self._digest.update(part)
            self._sink.write(first, part)
            if one.end > end:
                break
            self._judge(one)

    def zero(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def finish(self) -> None:
        """The image is over; raises if it is shorter than the map says."""
        if self._offset != self._bmap.image_size:
            raise self._other_size(self._offset)

    def _judge(self, one: MappedRange) -> None:
        if one.digest and self._digest.hexdigest() != one.digest:
            message = f"bytes {one.start} to {one.end} of the image are not those of {self._bmap.name}"
            details = {"expected": one.digest, "found": self._digest.hexdigest()}
            raise plugin.Failed("digest_mismatch", message, details=details)
        self._digest = self._new()
        self._next += 1

    def _new(self) -> Any:
        return hashlib.new(self._bmap.algorithm, usedforsecurity=False)

    def _other_size(self, size: int) -> plugin.Failed:
        details = {"expected": self._bmap.image_size, "found": size}
        message = f"the image has {size} bytes or more, {self._bmap.name} is for one of {self._bmap.image_size} bytes"
        return plugin.Failed("wrong_size", message, details=details)
