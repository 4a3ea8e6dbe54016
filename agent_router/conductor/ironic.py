"""A client of Ironic's API: wire facts, no policy.

Several URLs may be given; the client stays with the one that works. An API that answers 5xx (no free conductor
worker, a proxy without a backend) is skipped like one that does not answer.
"""

import contextlib
import http.client
import json
import ssl
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

# The newest versions that this client speaks; with an older server it uses the server's own.
LOOKUP_VERSION, HEARTBEAT_VERSION, INSPECTION_VERSION = (1, 62), (1, 68), (1, 84)
OLDEST = (1, 31)
TIMEOUT_S = 60.0
MAX_ANSWER = 16 << 20
MAX_REDIRECTS = 5
REPEATED = {301, 302, 307, 308}  # with the same method and body: Ironic's API is not a form, which 301 turns into a GET


class IronicError(Exception):
    """Ironic did not do what was asked; `status` is the HTTP status, 0 if there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def refuses_token(self) -> bool:
        """Invalid or missing agent token received."""
        return self.status == 400 and "agent token" in str(self).lower()


def fails(error: IronicError) -> bool:
    """Whether the API itself is the problem, so that another one may work."""
    return error.status == 0 or 300 <= error.status < 400 or error.status >= 500


class Ironic:
    """`urls` are API roots; `request_id` goes with every request; `cafile` ("": the system's) verifies https."""

    def __init__(self, urls: Iterable[str], request_id: str = "", cafile: str = "", insecure: bool = False) -> None:
        self._urls = [url.rstrip("/") for url in urls if url]
        self._request_id = request_id
        self._cafile, self._insecure = cafile, insecure
        self._context: ssl.SSLContext | None = None
        self._versions: dict[str, tuple[int, int]] = {}

    @property
    def url(self) -> str:
        """The root that worked last, else the first one."""
        return self._urls[0]

    @property
    def urls(self) -> list[str]:
        """All roots, `url` first."""
        return list(self._urls)

    def lookup(self, macs: Iterable[str], node_uuid: str = "") -> dict[str, Any]:
        """{"node": {…}, "config": {…}} of this machine."""
        query = {"addresses": ",".join(macs)}
        if node_uuid:
            query["node_uuid"] = node_uuid
        found = self._call("GET", f"/v1/lookup?{urlencode(query, safe=',:')}", LOOKUP_VERSION)
        if not isinstance(found, dict) or not isinstance(found.get("node"), dict) or "uuid" not in found["node"]:
            raise IronicError("Ironic's lookup answer contains no node")
        return found

    def heartbeat(self, node_uuid: str, callback_url: str, token: str, version: str, certificate: str = "") -> None:
        body = {"callback_url": callback_url, "agent_token": token, "agent_version": version}
        if certificate:
            body["agent_verify_ca"] = certificate
        self._call("POST", f"/v1/heartbeat/{quote(node_uuid)}", HEARTBEAT_VERSION, body)

    def inspected(self, urls: Iterable[str], data: dict[str, Any]) -> None:
        """Post inspection data to the first of `urls` that works; without any, to this API."""
        if urls := list(urls):
            self._first(urls, lambda url: self._send("POST", url, {}, data))  # accepted without a version
        else:
            self._call("POST", "/v1/continue_inspection", None, data)

    def _call(self, method: str, path: str, newest: tuple[int, int] | None, body: Any = None) -> Any:
        """Ask the first API that works; it is asked first from then on."""
        url, answer = self._first(self._urls, lambda url: self._at(url, method, path, newest, body))
        self._prefer(url)
        return answer

    def _at(self, url: str, method: str, path: str, newest: tuple[int, int] | None, body: Any) -> Any:
        try:
            return self._send(method, url + path, self._headers(url, newest), body)
        except IronicError as error:
            if fails(error):
                self._versions.pop(url, None)  # another release may come back
            else:
                self._prefer(url)
            raise

    def _first(self, urls: list[str], ask: Callable[[str], Any]) -> tuple[str, Any]:
        """(url, answer); IronicError at once if an API refuses, otherwise when all have failed."""
        failed: dict[str, IronicError] = {}
        for url in list(urls):
            try:
                return url, ask(url)
            except IronicError as error:
                if not fails(error):
                    raise
                failed[url] = error
        if not failed:
            raise IronicError("no URL of Ironic's API is known")
        if len(failed) == 1:
            raise next(iter(failed.values()))
        told = "; ".join(f"{url}: {error}" for url, error in failed.items())
        raise IronicError(told, max(error.status for error in failed.values()))

    def _prefer(self, url: str) -> None:
        self._urls.remove(url)
        self._urls.insert(0, url)

    def _headers(self, url: str, newest: tuple[int, int] | None) -> dict[str, str]:
        if newest is None:
            return {}
        if url not in self._versions and (found := self._discover(url)):
            self._versions[url] = found
        major, minor = min(self._versions.get(url, OLDEST), newest)
        return {"X-OpenStack-Ironic-API-Version": f"{major}.{minor}"}

    def _discover(self, url: str) -> tuple[int, int] | None:
        """None if the root is there but does not give its version; the next call asks again."""
        try:
            root = self._send("GET", url + "/", {})
            major, minor = root["default_version"]["version"].split(".")
            return int(major), int(minor)
        except IronicError as error:
            if fails(error):  # the oldest version might yield no token: try the next API, or later
                raise
        except (LookupError, TypeError, ValueError, AttributeError):
            pass
        return None

    def _send(self, method: str, url: str, headers: dict[str, str], body: Any = None) -> Any:
        """The answer's JSON, after redirects that are safe to follow."""
        parts = urlsplit(url)
        text = None if body is None else json.dumps(body).encode()
        headers = {**headers, "Accept": "application/json", "Content-Type": "application/json"}
        if self._request_id:
            headers["X-OpenStack-Request-ID"] = self._request_id
        for _ in range(1 + MAX_REDIRECTS):
            status, place, raw = self._exchange(method, parts, text, headers)
            if not 300 <= status < 400:
                break
            parts = redirected(method, parts, status, place)
        else:
            raise IronicError(f"{method} {url}: {status}, redirected more than {MAX_REDIRECTS} times", status)
        if status >= 400:
            raise IronicError(f"{method} {parts.path}: {status} {fault(raw)}".rstrip(), status)
        try:
            return json.loads(raw) if raw.strip() else None
        except ValueError:
            raise IronicError(f"{method} {parts.path}: the answer is not JSON", status) from None

    def _exchange(
        self, method: str, parts: SplitResult, text: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        """(status, Location, body) of one request."""
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            with contextlib.closing(self._connection(parts)) as connection:
                connection.request(method, target or "/", text, headers)
                response = connection.getresponse()
                return response.status, response.getheader("Location") or "", response.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
            raise IronicError(f"{parts.scheme}://{parts.netloc} does not answer: {why}") from None

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        if parts.scheme == "https":
            self._context = self._context or tls(self._cafile, self._insecure)
            return http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=self._context
            )
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{parts.geturl()!r} is not an API URL")
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)


def redirected(method: str, parts: SplitResult, status: int, place: str) -> SplitResult:
    """Where to repeat the request; IronicError if that would be unsafe. The request has the token in it."""
    came = f"{method} {parts.geturl()}: {status}"
    if status not in REPEATED or not place:
        raise IronicError(f"{came} with Location {place or 'missing'} is no answer of Ironic's API", status)
    try:
        found = urlsplit(urljoin(parts.geturl(), place))
        same = parts.scheme == "http" and found.scheme == "http" and found.hostname == parts.hostname
    except ValueError:
        raise IronicError(f"{came} redirects to {place!r}, which is no URL", status) from None
    if found.scheme != "https" and not same:
        raise IronicError(
            f"{came} redirects to {place}, which is not followed: it is neither https nor on the same host; "
            "give the final URL as ipa-api-url or ipa-inspection-callback-url",
            status,
        )
    return found


def tls(cafile: str, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if insecure else cafile or None)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "it has no PEM certificate"
        cure = "give a PEM file of this ramdisk as ipa-cafile"
        raise IronicError(f"the CA file {cafile} cannot be used: {why}; {cure}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def fault(raw: bytes) -> str:
    """The message of an Ironic error, which is JSON inside JSON; the beginning of anything else."""
    try:
        found = json.loads(raw)
        inner = found.get("error_message", found)
        inner = json.loads(inner) if isinstance(inner, str) else inner
        return str(inner.get("faultstring") or inner.get("title") or inner)
    except (ValueError, AttributeError):
        return raw[:200].decode(errors="replace").strip()
