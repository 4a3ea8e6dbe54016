"""Metalink 4 (RFC 5854): one file that lists mirrors, torrents, size and hashes of an image."""

import re
import xml.parsers.expat
from dataclasses import dataclass, field

from agent_router import plugin
from agent_router.image.sources.spec import split

NAMESPACE = "urn:ietf:params:xml:ns:metalink"
VERSION_3 = "http://www.metalinker.org/"
LOWEST = 999999  # also what an element without a priority has (RFC 5854, 4.2.16.1)
MOST_URLS = 32
# Never a file of this machine. Multicast has no authentication: it is received only where a digest is known.
FOLLOWED = ("http", "https", "udpcast")
DEEPEST = 32  # a Metalink has four levels, extensions may have some more
# What the registry of hash names (RFC 5854, 4.2.4) calls these; the fastest of the safe ones first.
HASHES = {"sha-256": "sha256", "sha-512": "sha512", "sha-384": "sha384"}
FILE, URL, METAURL, SIZE, HASH = (
    ("metalink", "file"), ("metalink", "file", "url"), ("metalink", "file", "metaurl"), ("metalink", "file", "size"),
    ("metalink", "file", "hash"),
)  # fmt: skip


@dataclass
class Metalink:
    """What it lists for its one file; `urls` in the order to try them."""

    urls: list[str]
    size_bytes: int | None
    digest: tuple[str, str] | None


def parse(text: bytes, name: str) -> Metalink:
    """Raises Failed("bad_metalink") for anything but a Metalink 4 of one file with a URL that this agent can follow."""
    document = _Document()
    try:
        document.parser.Parse(text, True)
    except (xml.parsers.expat.ExpatError, _Wrong) as error:
        raise plugin.Failed("bad_metalink", f"{name} is not a Metalink 4 (RFC 5854): {error}") from None
    if document.files != 1:
        message = f"{name} lists {document.files} files; a Metalink of exactly one is needed"
        raise plugin.Failed("bad_metalink", message)
    # Sorting is stable: what has the same priority stays in the order of the file, torrents first.
    urls = [url for _, _, url in sorted(document.urls, key=lambda one: one[:2])][:MOST_URLS]
    if not urls:
        raise plugin.Failed("bad_metalink", f"{name} lists no URL of http, https or udpcast and no torrent")
    digests = [(ours, document.hashes[theirs]) for theirs, ours in HASHES.items() if theirs in document.hashes]
    return Metalink(urls, document.size, digests[0] if digests else None)


class _Wrong(Exception):
    pass


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class _Document:
    """Collects while expat reads. Pieces, location, signature and other elements are ignored."""

    files: int = 0
    urls: list[tuple[int, bool, str]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    size: int | None = None

    def __post_init__(self) -> None:
        self._open: list[_Element] = []
        self.parser = xml.parsers.expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        # Without a document type no entity can be declared, so nothing can expand or be fetched.
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refuse_doctype(self, *_: object) -> None:
        raise _Wrong("it declares a document type, which a Metalink must not have")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if not self._open and (namespace, local) != (NAMESPACE, "metalink"):
            raise _Wrong("it is of version 3" if namespace == VERSION_3 else f"its root element is {local}")
        if len(self._open) >= DEEPEST:
            raise _Wrong(f"its elements are nested more than {DEEPEST} deep")
        # Elements of another namespace are extensions; named so that they match nothing here.
        self._open.append(_Element(local if namespace == NAMESPACE else name, attributes))

    def _text(self, text: str) -> None:
        self._open[-1].text += text

    def _end(self, _: str) -> None:
        path = tuple(element.name for element in self._open)
        element = self._open.pop()
        text = element.text.strip()
        if path == FILE:
            self.files += 1
        elif path == URL:
            self._add_url(text, element, torrent=False)
        elif path == METAURL and element.attributes.get("mediatype") == "torrent":
            self._add_url(text, element, torrent=True)
        elif path == SIZE:
            self.size = int(_checked(r"\d{1,18}", text, "size"))
        elif path == HASH:
            self.hashes[element.attributes.get("type", "")] = _checked("[0-9a-fA-F]+", text, "hash").lower()

    def _add_url(self, url: str, element: _Element, *, torrent: bool) -> None:
        priority = int(_checked(r"[1-9]\d{0,5}", element.attributes.get("priority", str(LOWEST)), "priority"))
        scheme, path = split(url)
        # No Metalink within a Metalink, and no torrent that is sent by multicast.
        allowed = FOLLOWED[:2] if torrent else FOLLOWED
        if scheme in allowed and not path.endswith(".meta4"):
            self.urls.append((priority, not torrent, url))


def _checked(pattern: str, text: str, what: str) -> str:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise _Wrong(f"{text[:80]!r} is no {what}")
    return text
