"""Find the digest of an image in a file like SHA256SUMS, CHECKSUM or disk.raw.sha256."""

import os
import re
import urllib.parse

from agent_router import plugin
from agent_router.image.sources import Spec, shown
from agent_router.image.sources.fetch import fetch

LIMIT = 1 << 20
# The safe ones first, of these the fastest first; the last two tell damage, not forgery.
ALGORITHMS = {"sha256": 64, "sha512": 128, "sha384": 96, "sha224": 56, "sha1": 40, "md5": 32}
HEX = "[0-9a-fA-F]{32,128}"
# 9f86… *disk.raw: sha256sum(1); a backslash in front says that the name is escaped.
GNU = re.compile(rf"\\?({HEX})[ \t]+\*?(.+)")
# SHA256 (disk.raw) = 9f86…: sha256(1) of BSD, sha256sum --tag, Fedora's CHECKSUM; without spaces: openssl dgst.
BSD = re.compile(rf"([A-Za-z0-9/-]+) ?\((.+)\) ?= ?({HEX})")
SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
SIGNATURE = "-----BEGIN PGP SIGNATURE-----"


def look_up(spec: Spec, image_url: str) -> tuple[str, str]:
    """(algorithm, hexadecimal digits) that the checksum file at spec.url has for the image."""
    return find(fetch(spec, LIMIT).decode(errors="replace"), image_url, spec.url)


def find(text: str, image_url: str, url: str) -> tuple[str, str]:
    """The same of a text. Raises Failed("no_checksum").

    A PGP signature around the lines is passed over, not verified: the agent has no key to trust.
    """
    name, listed = image_name(image_url), entries(text)
    found = {digest for named, digest in listed if named == name}
    if not found and len(listed) == 1 and (listed[0][0] is None or name_of(url).startswith(f"{name}.")):
        # One digest and nothing else, or disk.raw.sha256, which tells the name that disk.raw had where it was made.
        found = {listed[0][1]}
    for algorithm in ALGORITHMS:
        values = sorted(value for of, value in found if of == algorithm)
        if len(values) > 1:
            raise plugin.Failed("no_checksum", f"{shown(url)} has two {algorithm} checksums of {name}")
        if values:
            return algorithm, values[0]
    raise plugin.Failed("no_checksum", f"{shown(url)} has no checksum of {name}")


def image_name(url: str) -> str:
    """The name that the image has where it was published, also if a Metalink or torrent of it is named."""
    if url.startswith("magnet:"):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)).get("dn", "")
    return name_of(url).removesuffix(".meta4").removesuffix(".torrent")


def name_of(url: str) -> str:
    """The file name at the end of a URL or path."""
    path = url if url.startswith("/") else urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    return os.path.basename(path)


def entries(text: str) -> list[tuple[str | None, tuple[str, str]]]:
    """(name, (algorithm, digest)) of each line that is a checksum; name None for one that stands alone."""
    found: list[tuple[str | None, tuple[str, str]]] = []
    for line in _content(text):
        bsd, gnu = BSD.fullmatch(line), GNU.fullmatch(line)
        if bsd:
            algorithm = bsd[1].lower().replace("sha2-", "sha").replace("-", "")
            found.append((os.path.basename(bsd[2]), (algorithm, bsd[3].lower())))
        elif gnu:
            found.append((os.path.basename(gnu[2]), (_by_length(gnu[1]), gnu[1].lower())))
        elif re.fullmatch(HEX, line):
            found.append((None, (_by_length(line), line.lower())))
    return [(name, digest) for name, digest in found if ALGORITHMS.get(digest[0]) == len(digest[1])]


def _content(text: str) -> list[str]:
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    if SIGNED in lines:
        # RFC 9580, 7: headers up to an empty line, the text, the signature.
        lines = lines[lines.index(SIGNED) :]
        lines = lines[lines.index("") + 1 :] if "" in lines else []
        lines = lines[: lines.index(SIGNATURE)] if SIGNATURE in lines else []
    return [line for line in lines if line and not line.startswith("#")]


def _by_length(digits: str) -> str:
    return next((name for name, length in ALGORITHMS.items() if length == len(digits)), "")
