"""Connections to web servers: directly or through a proxy, plain or by TLS."""

import base64
import http.client
import ipaddress
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import cached_property
from urllib.parse import SplitResult

from agent_router import plugin
from agent_router.image.sources import tls
from agent_router.image.sources.http_url import address, authority, host_header, selector
from agent_router.image.sources.spec import Spec, shown

PROXY_PORT = 3128


class Refused(http.client.HTTPException):
    """An answer that is not what was asked for, with what it says of trying again."""

    def __init__(self, status: int, reason: str, retry_after_s: float = 0.0, content_range: str = "") -> None:
        super().__init__(f"HTTP {status} {reason}".strip())
        self.status = status
        self.retry_after_s = retry_after_s
        self.content_range = content_range


class ProxyRefused(Refused):
    """The proxy does not let us through."""


class Connector:
    """Makes connections as one spec wants them."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return tls.context(self._spec)  # not made for plain http: reading the system's CAs takes 20 ms

    def connect(self, parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
        proxy = self._proxy(parts)
        if parts.scheme == "https":
            made: http.client.HTTPConnection = _Secure(parts, proxy, timeout_s, self._context)
        else:
            made = http.client.HTTPConnection(*(address_of(proxy) if proxy else address(parts)), timeout=timeout_s)
        made.connect()
        return made

    def asked(self, parts: SplitResult) -> tuple[str, dict[str, str]]:
        """What to ask for on the connection, and what to say besides: a proxy wants the whole URL (RFC 9112, 3.2.2)."""
        proxy = self._proxy(parts)
        if proxy is None or parts.scheme == "https":
            return selector(parts), {}
        return parts._replace(netloc=host_header(parts)).geturl(), authorization(proxy)

    def _proxy(self, parts: SplitResult) -> SplitResult | None:
        return proxy_for(parts.scheme, *address(parts), self._spec.proxies)


class _Secure(http.client.HTTPSConnection):
    """TLS, through a tunnel of the proxy if there is one.

    The tunnel of http.client tells an IPv6 address without brackets, and the answer of the proxy as a text only.
    """

    def __init__(
        self, parts: SplitResult, proxy: SplitResult | None, timeout_s: float, context: ssl.SSLContext
    ) -> None:
        super().__init__(*address(parts), timeout=timeout_s, context=context)
        self._parts, self._proxy, self._tls = parts, proxy, context

    def connect(self) -> None:
        where = address_of(self._proxy) if self._proxy else (self.host, self.port)
        sock = socket.create_connection(where, self.timeout)
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
        raise ProxyRefused(answer.status, answer.reason)


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
