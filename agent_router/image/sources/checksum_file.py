"""Find the digest of an image in a file like SHA256SUMS, CHECKSUM or disk.raw.sha256."""

import hashlib
import os
import re
import urllib.parse
from dataclasses import dataclass

from agent_router import plugin
from agent_router.image.formats import magic
from agent_router.image.formats.clear_signed import without_signature
from agent_router.image.sources import Spec, shown
from agent_router.image.sources.fetch import fetch

LIMIT = 1 << 20
# The safe ones first, of these the most usual first; the last two tell damage, not forgery.
ALGORITHMS = {
    "sha256": 64, "sha512": 128, "sha384": 96, "sha512_256": 64, "sha3_256": 64, "sha3_512": 128, "sha3_384": 96,
    "blake2b": 128, "blake2s": 64, "sm3": 64, "sha224": 56, "sha3_224": 56, "sha1": 40, "md5": 32,
}  # fmt: skip
BY_LENGTH = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
HEX = "[0-9a-fA-F]{32,128}"
TAG = r"(?:sha-?[0-9]{1,3}(?:[-_/][0-9]{3})?|md5|blake2[bs]|b2|sm3)"
# 9f86… *disk.raw: sha256sum(1); a backslash in front says that the name is escaped. Before the digits there may be the
# algorithm, as in sha256:9f86… disk.raw, or in the table of Get-FileHash; after them the size, in files of apt.
GNU = re.compile(rf"(\\?)(?:({TAG})[: \t]\s*)?({HEX})(?:[ \t]+([0-9]+(?=[ \t]+\S))?[ \t]*\*?(.+))?", re.IGNORECASE)
# SHA256 (disk.raw) = 9f86…: sha256(1) of BSD, sha256sum --tag, Fedora's CHECKSUM; without spaces: openssl dgst.
BSD = re.compile(rf"(\\?)([A-Za-z0-9/_-]+) ?\((.+)\) ?= ?({HEX})")
# What stands above lines of digits: "# SHA3-256", "SHA512:", "SHA256 hash of disk.raw:" (certutil).
HEADING = re.compile(rf"\W*({TAG})(?:sums?|\W.*)?", re.IGNORECASE)
IN_NAME = re.compile(rf"(?:^|[._-])({TAG})(?:sums?)?(?:$|[._-])", re.IGNORECASE)
LISTED = 3  # names in a message


@dataclass(frozen=True)
class Entry:
    """A line that is a checksum: `path` as listed, with slashes; empty for one that stands alone."""

    path: str
    algorithm: str
    digits: str


def look_up(spec: Spec, image_url: str) -> tuple[str, str]:
    """(algorithm, hexadecimal digits) that the checksum file at spec.url has for the image."""
    return find(decoded(fetch(spec, LIMIT)), image_url, spec.url)


def decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 as PowerShell writes it."""
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    return data.decode("utf-16" if wide else "utf-8-sig", errors="replace")


def find(text: str, image_url: str, url: str) -> tuple[str, str]:
    """The same of a text. Raises Failed("no_checksum").

    A PGP signature around the lines is passed over, not verified: the agent has no key to trust.
    """
    kind = magic.kind_of(text[: magic.LOOK].encode())
    if kind in ("html", "xml", "json"):
        raise _none(f"{shown(url)} is {magic.title(kind)} and not a checksum file: check what the URL returns")
    path, listed = image_path(image_url), entries(text, name_of(url))
    name = path[-1] if path else ""
    found = of_path(listed, path, url)
    if not found and len(listed) == len({entry.algorithm for entry in listed}) and _all_of(listed, name, url):
        found = listed
    for algorithm in ALGORITHMS:
        values = {entry.digits for entry in found if entry.algorithm == algorithm}
        if len(values) > 1:
            raise _none(f"{shown(url)} has two {algorithm} checksums of {name}: remove the wrong one")
        if values and algorithm in hashlib.algorithms_available:
            return algorithm, values.pop()
    raise _none(f"{shown(url)} has no checksum of {name}; {_lists(listed)}")


def of_path(listed: list[Entry], path: list[str], url: str) -> list[Entry]:
    """The entries for the image at `path`. Of several with its name, the longest one that the path ends with."""
    named = [entry for entry in listed if path and parts(entry.path)[-1:] == path[-1:]]
    matching = [entry for entry in named if path[-len(parts(entry.path)) :] == parts(entry.path)]
    if matching:
        longest = max(len(parts(entry.path)) for entry in matching)
        return [entry for entry in matching if len(parts(entry.path)) == longest]
    if len({entry.path for entry in named}) > 1:  # one alone was listed where it was made
        others = ", ".join(sorted({entry.path for entry in named})[:LISTED])
        raise _none(f"{shown(url)} has checksums of {path[-1]} in other directories only ({others})")
    return named


def _all_of(listed: list[Entry], name: str, url: str) -> bool:
    """One digest and nothing else, or disk.raw.sha256, which tells the name that disk.raw had where it was made."""
    one_name = len({entry.path for entry in listed}) == 1
    return one_name and (not listed[0].path or name_of(url).startswith(f"{name}."))


def image_path(url: str) -> list[str]:
    """The path that the image has where it was published, also if a Metalink or torrent of it is named."""
    if url.lower().startswith("magnet:"):
        return parts(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)).get("dn", ""))
    return parts(path_of(url).removesuffix(".meta4").removesuffix(".torrent"))


def path_of(url: str) -> str:
    return url if url.startswith("/") else urllib.parse.unquote(urllib.parse.urlsplit(url).path)


def name_of(url: str) -> str:
    """The file name at the end of a URL or path."""
    return os.path.basename(path_of(url))


def parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def entries(text: str, file_name: str = "") -> list[Entry]:
    """All of them. The algorithm is told by the line, by the heading above it, by `file_name`, or by the length."""
    found: list[Entry] = []
    in_name = IN_NAME.search(file_name)
    heading, path = normal(in_name[1]) if in_name else "", ""
    for line in map(str.strip, without_signature(text.lstrip("\ufeff")).splitlines()):
        bsd, gnu, above = BSD.fullmatch(line), GNU.fullmatch(line), HEADING.fullmatch(line)
        if bsd:
            found += _entry(_path(bsd[1], bsd[3]), normal(bsd[2]), bsd[4])
        elif gnu:
            algorithm = normal(gnu[2]) if gnu[2] else _fitting(heading, gnu[3])
            found += _entry(_path(gnu[1], gnu[5] or path), algorithm, gnu[3])
        elif above:
            heading = normal(above[1])
            of_file = re.search(r" hash of (?:file )?(.+):$", line)
            path = of_file[1] if of_file else ""
    return found


def _entry(path: str, algorithm: str, digits: str) -> list[Entry]:
    return [Entry(path, algorithm, digits.lower())] if ALGORITHMS.get(algorithm) == len(digits) else []


def _fitting(algorithm: str, digits: str) -> str:
    """What a heading tells, if it can be that of these digits."""
    return algorithm if ALGORITHMS.get(algorithm) == len(digits) else BY_LENGTH.get(len(digits), "")


def _path(escaped: str, name: str) -> str:
    if escaped:
        return re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), name)
    return name if "/" in name else re.sub("^[A-Za-z]:", "", name).replace("\\", "/")


def normal(algorithm: str) -> str:
    """The name that hashlib has for it."""
    name = algorithm.lower().replace("/", "_").replace("-", "_").replace("sha2_", "sha")
    return {"b2": "blake2b"}.get(name, re.sub("^sha_", "sha", name))


def _lists(listed: list[Entry]) -> str:
    names = list(dict.fromkeys(entry.path for entry in listed if entry.path))
    if not names:
        return "no line of it is a checksum and a name" if not listed else "it lists several without a name"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"it lists {', '.join(names[:LISTED])}{more}"


def _none(message: str) -> plugin.Failed:
    return plugin.Failed("no_checksum", message)
