"""URLs as they go over the wire (RFC 3986), and what of them decides who gets a secret."""

import re
import urllib.parse
from urllib.parse import SplitResult

from agent_router import plugin
from agent_router.image.sources.spec import shown

PORTS = {"http": 80, "https": 443}
# Everything that may stand in a path or query as it is; a % that begins no escape is not among them.
SAFE = "/:@!$&'()*+,;=~-._?%"


def prepared(url: str) -> SplitResult:
    """The URL with everything escaped that must be; raises InvalidRequest("bad_url")."""
    try:
        parts = urllib.parse.urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise plugin.InvalidRequest("bad_url", f"{shown(url)} is not a URL: {error}") from None
    if parts.scheme not in PORTS or not host:
        raise plugin.InvalidRequest("bad_url", f"{shown(url)} is not a URL of http or https")
    if "@" in parts.netloc:
        message = f"{shown(url)}: a name within the URL would end up in logs; give it as the header Authorization"
        raise plugin.InvalidRequest("bad_url", message)
    name = f"[{host}]" if ":" in host else ascii_name(host)
    place = name if port in (None, PORTS[parts.scheme]) else f"{name}:{port}"
    return SplitResult(parts.scheme, place, quoted(parts.path) or "/", quoted(parts.query), "")


def ascii_name(host: str) -> str:
    """An internationalised name as DNS has it (RFC 3490)."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise plugin.InvalidRequest("bad_url", f"{host!r} is not the name of a host") from None


def quoted(text: str) -> str:
    return urllib.parse.quote(re.sub("%(?![0-9A-Fa-f]{2})", "%25", text), safe=SAFE)


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what must be the same for a secret to be sent (RFC 6454)."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return url, None, None  # the same as itself only


def address(parts: SplitResult) -> tuple[str, int]:
    """Where to connect to. The zone of a link-local address (fe80::1%25eth0, RFC 6874) belongs to it."""
    return urllib.parse.unquote(parts.hostname or ""), parts.port or PORTS[parts.scheme]


def host_header(parts: SplitResult) -> str:
    """The host as the server knows it: a zone means something on this machine only."""
    return re.sub("%25[^]]*", "", parts.netloc)


def authority(parts: SplitResult) -> str:
    """host:port, the port always."""
    return host_header(parts) if parts.port else f"{host_header(parts)}:{PORTS[parts.scheme]}"


def selector(parts: SplitResult) -> str:
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
