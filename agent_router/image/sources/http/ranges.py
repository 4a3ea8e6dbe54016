"""May a download resume where it broke? The rules of RFC 9110: 8.8 validators, 13.1.5 If-Range, 14 ranges."""

import email.utils
import http.client
import re
from dataclasses import dataclass
from email.message import Message

# Between Last-Modified and Date: enough that two clocks need not agree to the second (RFC 9110, 8.8.2.2).
SETTLED_S = 60


@dataclass(frozen=True)
class Version:
    """Which bytes a server has at a URL; `etag` and `modified` only if they promise that no byte differs."""

    url: str
    size: int | None
    etag: str | None
    modified: str | None

    @property
    def validator(self) -> str | None:
        return self.etag or self.modified


def version(response: http.client.HTTPResponse, url: str) -> Version:
    etag = response.headers.get("ETag", "")
    # http.client knows the length if it is sent and the body is not chunked.
    return Version(url, response.length, etag if etag.startswith('"') else None, strong_date(response.headers))


def strong_date(headers: Message) -> str | None:
    """Last-Modified, if it is old enough that a change since would have given another one."""
    modified, date = headers.get("Last-Modified"), headers.get("Date")
    try:
        then, now = (email.utils.parsedate_to_datetime(text or "") for text in (modified, date))
        return modified if (now - then).total_seconds() >= SETTLED_S else None
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True)
class Span:
    """Content-Range: bytes start-end/total, the end included; total None if it is not told."""

    start: int
    end: int
    total: int | None


def parse_content_range(value: str) -> Span | None:
    found = re.fullmatch(r"\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*", value)
    if found is None or int(found[2]) < int(found[1]):
        return None
    return Span(int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3]))


def unsatisfied_total(value: str) -> int | None:
    """The size that a 416 tells: bytes */total."""
    found = re.fullmatch(r"\s*bytes\s+\*/(\d{1,18})\s*", value)
    return int(found[1]) if found else None


class CannotResume(Exception):
    """The answer is not the rest of what was read before; the text says why, `cure` what to do."""

    cure = "start again"


class NoRange(CannotResume):
    """The server sends only the whole image."""

    cure = "use a web server with ranges, or add a second source"


def vouched(response: http.client.HTTPResponse, url: str, first: Version) -> bool:
    """Whether the server says that this is of the version `first`."""
    now = version(response, url)
    return url == first.url and first.validator in {now.etag, now.modified} - {None}


def check_part(
    response: http.client.HTTPResponse,
    url: str,
    first: Version | None,
    start: int,
    size: int | None,
    *,
    strict: bool = False,
) -> Span:
    """The part of the image in `response`; raises CannotResume unless it begins at `start` of the same bytes.

    `strict`: the request had no If-Range, so the answer must say itself that it is of the version `first`.
    """
    if first is not None and _replaced(response, url, first):
        raise CannotResume("the image on the server was replaced while it was read")
    if response.status != 206:
        raise NoRange("the server cannot resume (no Range)")
    if strict and first is not None and not vouched(response, url, first):
        raise CannotResume("the server does not tell of which version of the image the part is")
    span = parse_content_range(response.headers.get("Content-Range", ""))
    if span is None or span.start != start or (span.total or span.end + 1) <= span.end:
        raise CannotResume(f"the server answered with {response.headers.get('Content-Range')}, asked was for {start}-")
    if size is not None and (span.total or size) != size:
        raise CannotResume(f"the server has {span.total} bytes now and had {size} before")
    if response.length not in (None, span.end - span.start + 1):
        raise CannotResume(f"the server announced {response.length} bytes for {response.headers.get('Content-Range')}")
    return span


def check_whole(
    response: http.client.HTTPResponse, url: str, first: Version | None, start: int, size: int | None, judged: bool
) -> int | None:
    """The size that `response` tells; raises CannotResume unless it has again the bytes before `start`, and the rest.

    For an answer that check_part() found to be the whole image, and not a replaced one. `judged`: a digest will
    verify the image in the end.
    """
    now = version(response, url)
    if not judged and (first is None or not vouched(response, url, first)):
        raise NoRange("the server cannot resume (no Range) and no ETag or digest tells whether it is the same image")
    if now.size is not None and now.size != (size or max(now.size, start)):
        raise CannotResume(f"the server has {now.size} bytes now and had {size or 'more'} before")
    return now.size


def _replaced(response: http.client.HTTPResponse, url: str, first: Version) -> bool:
    """Only an answer of the same URL can show that: mirrors have validators of their own."""
    if url != first.url:
        return False
    now = version(response, url)
    if first.etag and response.headers.get("ETag"):
        return now.etag != first.etag
    return bool(first.modified and response.headers.get("Last-Modified") not in (None, first.modified))
