"""Connections to web servers: URLs as they go over the wire (RFC 3986), proxies, and TLS.

Certificates are verified, TLS is 1.2 at least, and keys are never written to a disk.
"""

import base64
import email.utils
import http.client
import ipaddress
import os
import re
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from functools import cached_property
from urllib.parse import SplitResult

from agent_router import plugin
from agent_router.image.sources.http.dial import dial
from agent_router.image.sources.spec import Spec, shown

PROXY_PORT = 3128


class ErrorStatus(http.client.HTTPException):
    """An answer with an error status, and when the server wants to be asked again."""

    def __init__(self, status: int, reason: str, retry_after_s: float = 0.0, content_range: str = "") -> None:
        super().__init__(f"HTTP {status} {reason}".strip())
        self.withheld = ""  # why the headers of the request were not sent
        self.status = status
        self.retry_after_s = retry_after_s
        self.content_range = content_range


class ProxyErrorStatus(ErrorStatus):
    """The proxy does not let us through."""


class Connector:
    """Makes connections as one spec wants them."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return tls_context(self._spec)  # not made for plain http: reading the system's CAs takes 20 ms

    def connect(self, parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
        proxy = self._proxy(parts)
        if parts.scheme == "https":
            made: http.client.HTTPConnection = _Secure(parts, proxy, timeout_s, self._context)
        else:
            made = _Plain(*(address_of(proxy) if proxy else address(parts)), timeout=timeout_s)
        made.connect()
        return made

    def asked(self, parts: SplitResult) -> tuple[str, dict[str, str]]:
        """The request target and additional headers: a proxy needs the whole URL (RFC 9112, 3.2.2)."""
        proxy = self._proxy(parts)
        if proxy is None or parts.scheme == "https":
            return selector(parts), {}
        return parts._replace(netloc=host_header(parts)).geturl(), authorization(proxy)

    def _proxy(self, parts: SplitResult) -> SplitResult | None:
        return proxy_for(parts.scheme, *address(parts), self._spec.proxies)


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        assert isinstance(self.timeout, float)
        self.sock = dial((self.host, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Secure(http.client.HTTPSConnection):
    """TLS, through a tunnel of the proxy if there is one.

    http.client's own tunnel sends IPv6 addresses without brackets, and gives the proxy's answer only as text.
    """

    def __init__(
        self, parts: SplitResult, proxy: SplitResult | None, timeout_s: float, context: ssl.SSLContext
    ) -> None:
        super().__init__(*address(parts), timeout=timeout_s, context=context)
        self._parts, self._proxy, self._tls = parts, proxy, context

    def connect(self) -> None:
        where = address_of(self._proxy) if self._proxy else (self.host, self.port)
        assert isinstance(self.timeout, float)
        sock = dial(where, self.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._proxy:
                tunnel(sock, authority(self._parts), self._proxy)
            # A zone (fe80::1%eth0) is no part of the name in the certificate.
            self.sock = self._tls.wrap_socket(sock, server_hostname=self.host.partition("%")[0])
        except BaseException:
            sock.close()
            raise


def tunnel(sock: socket.socket, target: str, proxy: SplitResult) -> None:
    """Ask the proxy for a way through to `target`, host:port (RFC 9110, 9.3.6)."""
    head = {"Host": target, "User-Agent": "agent-router", **authorization(proxy)}
    lines = [f"CONNECT {target} HTTP/1.1", *(f"{key}: {value}" for key, value in head.items()), "", ""]
    sock.sendall("\r\n".join(lines).encode("latin-1"))
    answer = http.client.HTTPResponse(sock, method="CONNECT")
    answer.begin()
    if answer.status != 200:
        raise ProxyErrorStatus(answer.status, answer.reason, retry_after_s(answer.headers))


def retry_after_s(headers: Message) -> float:
    """Retry-After in seconds or as a date (RFC 9110, 10.2.3), by the server's clock if it tells the time."""
    after = headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return float(after)
    try:
        then = email.utils.parsedate_to_datetime(after).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    try:
        now = email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        now = time.time()
    return max(then - now, 0.0)


def proxy_for(scheme: str, host: str, port: int, given: Mapping[str, str]) -> SplitResult | None:
    """The proxy to use, from the command and then the environment; raises InvalidRequest("bad_proxy")."""
    known = {**urllib.request.getproxies_environment(), **given}
    url = known.get(scheme) or known.get("all")
    if not url or bypassed(host, port, known.get("no", "")):
        return None
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        message = f"{shown(url)} is not a proxy that this agent can use; give http://HOST:PORT"
        raise plugin.InvalidRequest("bad_proxy", message)
    return parts


def bypassed(host: str, port: int, exceptions: str) -> bool:
    """True if no_proxy names the host, a domain it is in, or a network (CIDR) it is in."""
    for entry in exceptions.lower().replace(",", " ").split():
        name, colon, only = entry.rpartition(":")
        if colon and only.isdigit() and (":" not in name or name.endswith("]")):
            if int(only) != port:
                continue
            entry = name
        entry = entry.strip("[]").lstrip("*").lstrip(".")
        if not entry or host.lower() == entry or host.lower().endswith(f".{entry}") or _within(host, entry):
            return True
    return False


def _within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def address_of(proxy: SplitResult) -> tuple[str, int]:
    return proxy.hostname or "", proxy.port or PROXY_PORT


def authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = ":".join(urllib.parse.unquote(part or "") for part in (proxy.username, proxy.password))
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


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
        message = f"{shown(url)}: a user name in the URL would end up in logs; send it in the header Authorization"
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


def tls_context(spec: Spec) -> ssl.SSLContext:
    """With the CA and the client certificate of the spec; raises InvalidRequest("bad_certificate")."""
    try:
        made = _trusting(spec.ca)
    except (OSError, ValueError) as error:
        raise _bad_certificate("ca", "certificates", spec.ca, error) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if spec.certificate:
        try:
            _present(made, spec.certificate, spec.key)
        except (OSError, ValueError) as error:
            raise _bad_certificate(
                "certificate and key", "a certificate with its key", spec.certificate, error
            ) from None
    return made


def _trusting(ca: str | None) -> ssl.SSLContext:
    """Trusts the system's CAs, or only `ca` if it is given."""
    if not ca:
        return ssl.create_default_context()
    if is_pem(ca):
        return ssl.create_default_context(cadata=ca)
    if os.path.isdir(ca):
        return ssl.create_default_context(capath=ca)
    return ssl.create_default_context(cafile=ca)


def _present(made: ssl.SSLContext, certificate: str, key: str | None) -> None:
    # OpenSSL reads these from files only; a file in memory has a path, and goes with its descriptor.
    descriptors: list[int] = []

    def path(given: str) -> str:
        if not is_pem(given):
            return given
        descriptors.append(os.memfd_create("pem", os.MFD_CLOEXEC))
        with open(descriptors[-1], "w", closefd=False) as file:
            file.write(given)
        return f"/proc/self/fd/{descriptors[-1]}"

    try:
        # An encrypted key would otherwise be asked for on the terminal.
        made.load_cert_chain(path(certificate), path(key) if key else None, password=lambda: "")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def is_pem(given: str) -> bool:
    return "-----BEGIN " in given


def _bad_certificate(which: str, what: str, given: str | None, error: Exception) -> plugin.InvalidRequest:
    shown = "the PEM text" if is_pem(given or "") else given
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return plugin.InvalidRequest("bad_certificate", f"{which}: {shown} is not {what} that can be used: {reason}")
