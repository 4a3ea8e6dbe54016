"""What a source is made from: one URL, its credentials, and what is known about the image beforehand."""

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_router import plugin

BY_SCHEME = {
    "http": "http", "https": "http", "file": "file", "magnet": "torrent", "udpcast": "multicast", "iscsi": "iscsi",
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """One source of the published bytes. Every source class is instantiated as Class(spec).

    `headers`, `certificate` and `key` are secrets, and so is the query of the URL: nothing but `name` may be shown.
    `ca`, `certificate` and `key` are PEM text or a path; `certificate` may hold the key too.
    `proxies` is {"http": URL, "https": URL, "no": "host,.domain"}; what it does not name is taken from the environment.
    `digest` is (algorithm, hexadecimal digits) that the source itself published (Metalink): it is only there if the
    command has no digest, and must be verified then. `digest_known` is true in both cases.
    `mirrors` are other sources of the same bytes, to be tried in order from where this one failed.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience_s: float = 60.0
    digest_known: bool = False
    digest: tuple[str, str] | None = None
    size_bytes: int | None = None  # as published
    packed: str | None = None  # how the published file is declared to be compressed: gz, xz, zst, bz2
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    device: str | None = None  # the destination, which must not be the source
    work: str = "."  # directory for scratch files
    mirrors: tuple["Spec", ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)  # keys of one kind of source, e.g. linger_s

    def __post_init__(self) -> None:
        scheme, colon, rest = self.url.partition(":")
        if colon and scheme.isalnum():  # of a URL, and not a path
            object.__setattr__(self, "url", f"{scheme.lower()}:{rest}")

    @property
    def name(self) -> str:
        return shown(self.url)

    @property
    def transport(self) -> str:
        """http, file, torrent, multicast or iscsi; raises InvalidRequest("bad_url") for anything else."""
        scheme, path = split(self.url)
        if scheme in ("http", "https", "file") and path.endswith(".torrent"):
            return "torrent"
        if scheme not in BY_SCHEME:
            message = (
                f"{self.name} is not a source that this agent knows: use http, https, file, the path of a file or "
                "device, magnet, udpcast or iscsi; a path or URL that ends in .torrent or .meta4 is followed"
            )
            raise plugin.InvalidRequest("bad_url", message)
        return BY_SCHEME[scheme]

    @property
    def is_metalink(self) -> bool:
        scheme, path = split(self.url)
        return scheme in ("http", "https", "file") and path.endswith(".meta4")


def split(url: str) -> tuple[str, str]:
    """(scheme, path); a path without a scheme is a file."""
    if url.startswith("/"):
        return "file", url
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # e.g. an unfinished [IPv6
        return "", ""
    return parts.scheme.lower(), parts.path


def shown(url: str) -> str:
    """The URL without query and user: a signed URL is a secret."""
    if url.startswith("/"):
        return url
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "the URL"
    if parts.scheme == "magnet":
        topics = [value for key, value in urllib.parse.parse_qsl(parts.query) if key == "xt"]
        return "magnet:?" + "&".join(f"xt={topic}" for topic in topics)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
