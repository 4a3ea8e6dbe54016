"""Ask a web server: what goes into a request, where redirects may lead, and who gets the secrets."""

import contextlib
import http.client
import re
import socket
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agent_router import plugin
from agent_router.image.sources.http_connect import Connector, Refused
from agent_router.image.sources.http_url import host_header, origin, prepared
from agent_router.image.sources.spec import Spec, shown

MOST_REDIRECTS = 10
REDIRECTS = {301, 302, 303, 307, 308}
# 203 is 200 through a proxy that changed headers; nothing else has the bytes.
FINE = {200, 203, 206}
# What this module says itself; with another value the answer would not be what its caller thinks.
RESERVED = {"host", "range", "if-range", "accept-encoding", "connection", "content-length", "transfer-encoding"}


class Place(NamedTuple):
    """Where to ask. `trusted`: this is still the server that the secrets are meant for."""

    url: str
    trusted: bool


@dataclass
class Answer:
    response: http.client.HTTPResponse
    place: Place
    connection: http.client.HTTPConnection
    sock: socket.socket | None

    def close(self) -> None:
        """At once, and even if another thread is waiting for bytes."""
        if self.sock is not None:
            with contextlib.suppress(OSError):  # the other side was faster
                self.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self.connection.close()


class Client:
    """Sends GET requests for one spec; keeps a connection for the next one if that is asked for."""

    def __init__(self, spec: Spec) -> None:
        check_headers(spec.headers)
        prepared(spec.url)
        self._spec = spec
        self._connector = Connector(spec)
        self._kept: tuple[tuple[str, str | None, int | None], http.client.HTTPConnection] | None = None
        self.start = Place(spec.url, True)

    def get(self, place: Place, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """The answer of whoever has it in the end, its body unread.

        Raises OSError or HTTPException (Refused for a status), which may be over in a while, or plugin.Failed.
        """
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._ask(place, headers, timeout_s)
            status, location = answer.response.status, answer.response.headers.get("Location")
            if status in FINE:
                return answer
            answer.close()
            if status not in REDIRECTS or not location:
                raise refusal(answer.response)
            place = self._follow(place, location)
        raise plugin.Failed("http_error", f"{self._spec.name}: more than {MOST_REDIRECTS} redirects")

    def keep(self, answer: Answer) -> None:
        """The body was read to its end: the connection may serve the next request."""
        if answer.response.will_close:
            answer.close()
        else:
            answer.response.close()
            self._kept = (origin(answer.place.url), answer.connection)

    def close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def _ask(self, place: Place, headers: Mapping[str, str], timeout_s: float) -> Answer:
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == origin(place.url):
            try:
                return self._exchange(place, headers, timeout_s, kept[1])
            except (ConnectionError, http.client.HTTPException):
                pass  # idle for too long: the server may hang up at any time
        elif kept is not None:
            kept[1].close()
        return self._exchange(place, headers, timeout_s, None)

    def _exchange(
        self, place: Place, headers: Mapping[str, str], timeout_s: float, connection: http.client.HTTPConnection | None
    ) -> Answer:
        parts = prepared(place.url)
        wanted, proxy_headers = self._connector.asked(parts)
        made = connection or self._connector.connect(parts, timeout_s)
        try:
            made.putrequest("GET", wanted, skip_host=True, skip_accept_encoding=True)
            # A server that compresses on the way would change the bytes that the digest is of.
            fixed = {"Host": host_header(parts), "User-Agent": "agent-router", "Accept-Encoding": "identity"}
            own = self._spec.headers if place.trusted else {}
            for key, value in {**fixed, **proxy_headers, **headers, **own}.items():
                made.putheader(key, value)
            made.endheaders()
            sock = made.sock  # http.client lets go of it when the answer says "Connection: close"
            return Answer(made.getresponse(), place, made, sock)
        except BaseException:
            made.close()
            raise

    def _follow(self, place: Place, location: str) -> Place:
        # http.client takes headers for Latin-1; servers send UTF-8.
        target = urllib.parse.urljoin(place.url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
        name = f"{shown(place.url)} redirects to {shown(target)}"
        scheme = urllib.parse.urlsplit(target).scheme
        if scheme not in ("http", "https"):
            raise plugin.Failed("http_error", f"{name}, and only http and https are followed")
        if scheme == "http" and place.url.startswith("https:") and not self._spec.digest_known:
            message = f"{name}: from https to http, where anybody on the way could change it, a digest must be given"
            raise plugin.Failed("http_error", message)
        try:
            prepared(target)
        except plugin.InvalidRequest as error:  # the server's fault, not that of the command
            raise plugin.Failed("http_error", f"{name}: {error.message}") from None
        return Place(target, place.trusted and origin(target) == origin(place.url))


def refusal(response: http.client.HTTPResponse) -> Refused:
    after = response.headers.get("Retry-After", "")
    content_range = response.headers.get("Content-Range", "")
    return Refused(response.status, response.reason, float(after) if after.isdecimal() else 0.0, content_range)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise InvalidRequest("bad_header") for what must not or cannot be sent; never with the value."""
    for key, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key):  # a token (RFC 9110, 5.6.2)
            raise plugin.InvalidRequest("bad_header", f"{key!r} is not the name of a header")
        if key.lower() in RESERVED:
            raise plugin.InvalidRequest("bad_header", f"The header {key} is set by the agent itself; leave it out")
        if not re.fullmatch(r"[\t -~\xa0-\xff]*", value):
            message = f"The value of the header {key} has a line break or a letter that cannot be sent"
            raise plugin.InvalidRequest("bad_header", message)
